import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { basename } from "node:path";

interface ProcessFacts {
  readonly parent: number;
  readonly name: string;
  readonly isMarked: boolean;
}

/**
 * The processes of pods and containers with these ids, by name. Monitors and shims are outside the pod's cgroup and
 * have an id in their command line or working directory; containers, and gVisor's kernel with its helpers, are in the
 * pod's cgroup; their children belong to the pod, wherever they are.
 */
export function podProcesses(ids: readonly string[]): Map<number, string> {
  const all = new Map<number, ProcessFacts>();
  for (const name of readdirSync("/proc")) {
    const facts = /^\d+$/.test(name) ? factsOf(name, ids) : undefined;
    if (facts !== undefined) all.set(Number(name), facts);
  }
  const isOurs = (pid: number): boolean => {
    const facts = all.get(pid);
    return facts !== undefined && (facts.isMarked || isOurs(facts.parent));
  };
  return new Map([...all].filter(([pid]) => isOurs(pid)).map(([pid, { name }]) => [pid, name]));
}

function factsOf(pid: string, ids: readonly string[]): ProcessFacts | undefined {
  try {
    const command = readFileSync(`/proc/${pid}/cmdline`, "utf8");
    const cgroup = readFileSync(`/proc/${pid}/cgroup`, "utf8");
    // proc_pid_stat(5): the name in parentheses may contain anything.
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const parent = Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
    const program = basename(command.split("\0")[0] ?? "");
    const cwd = readlinkSync(`/proc/${pid}/cwd`);
    const name = program === "" ? stat.slice(stat.indexOf("(") + 1, stat.lastIndexOf(")")) : program;
    return { parent, name, isMarked: ids.some((id) => [command, cgroup, cwd].some((text) => text.includes(id))) };
  } catch {
    return undefined; // it has ended
  }
}
