import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const root = "/sys/fs/cgroup";

/** A cgroup for a daemon and its pods, in which the kernel adds up what they use, and nothing else. */
export class SideCgroup {
  /** CRI: LinuxPodSandboxConfig.cgroup_parent. */
  readonly podParent: string;
  readonly #cpuDir: string;
  readonly #memoryDir: string;
  readonly #isV2 = existsSync(join(root, "cgroup.controllers"));

  constructor(name: string) {
    this.#cpuDir = join(root, this.#isV2 ? name : `cpuacct/${name}`);
    this.#memoryDir = join(root, this.#isV2 ? name : `memory/${name}`);
    this.podParent = `/${name}/pods`;
    // In cgroup v2 only leaves may have processes (cgroups(7)).
    for (const dir of this.#dirs) mkdirSync(join(dir, "daemon"), { recursive: true });
  }

  /** Moves a process into it, with all its threads. What that starts later is in it too. */
  add(pid: number): void {
    for (const dir of this.#dirs) writeFileSync(join(dir, "daemon/cgroup.procs"), String(pid));
  }

  /** CPU time so far in ms, including ended processes. */
  cpuMs(): number {
    if (!this.#isV2) return Number(readFileSync(join(this.#cpuDir, "cpuacct.usage"), "utf8")) / 1e6;
    return field(join(this.#cpuDir, "cpu.stat"), "usage_usec") / 1e3;
  }

  /** The same, split into time in programs and time in the kernel on their behalf. */
  userAndSystemMs(): { userMs: number; systemMs: number } {
    const stat = join(this.#cpuDir, "cpu.stat");
    if (this.#isV2) return { userMs: field(stat, "user_usec") / 1e3, systemMs: field(stat, "system_usec") / 1e3 };
    const ns = (name: string) => Number(readFileSync(join(this.#cpuDir, name), "utf8"));
    return { userMs: ns("cpuacct.usage_user") / 1e6, systemMs: ns("cpuacct.usage_sys") / 1e6 };
  }

  /** Memory in KiB: processes, tmpfs and the kernel on their behalf, without the page cache of files. */
  memoryKiB(): number {
    const used = Number(
      readFileSync(join(this.#memoryDir, this.#isV2 ? "memory.current" : "memory.usage_in_bytes"), "utf8"),
    );
    const stat = join(this.#memoryDir, "memory.stat");
    const prefix = this.#isV2 ? "" : "total_";
    return (used - field(stat, `${prefix}inactive_file`) - field(stat, `${prefix}active_file`)) / 1024;
  }

  get #dirs(): Set<string> {
    return new Set([this.#cpuDir, this.#memoryDir]);
  }
}

function field(file: string, key: string): number {
  return Number(new RegExp(`^${key} (\\d+)`, "m").exec(readFileSync(file, "utf8"))?.[1]);
}
