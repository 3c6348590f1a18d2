import { readdirSync, readFileSync, readlinkSync } from "node:fs";

/** The process that listens on `unix:///path`; undefined when it cannot be seen from here. */
export function listenerOf(endpoint: string): number | undefined {
  const path = endpoint.slice("unix://".length);
  // Flags 00010000 is __SO_ACCEPTCON: the listening socket, not a connection to it (proc_pid_net(5)).
  const line = readFileSync("/proc/net/unix", "utf8")
    .split("\n")
    .find((line) => line.endsWith(` ${path}`) && line.split(/\s+/)[3] === "00010000");
  const inode = line?.split(/\s+/)[6];
  if (inode === undefined) return undefined;
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .find((pid) => holds(pid, `socket:[${inode}]`));
}

function holds(pid: number, target: string): boolean {
  try {
    const dir = `/proc/${pid}/fd`;
    return readdirSync(dir).some((fd) => readlinkSync(`${dir}/${fd}`) === target);
  } catch {
    return false; // the process has ended, or has closed the file
  }
}
