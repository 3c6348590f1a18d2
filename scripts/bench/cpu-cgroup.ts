import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const root = "/sys/fs/cgroup";

/**
 * A cgroup for a daemon and, below it, its pods: the kernel adds up the CPU time of all, ended processes too. Pods have
 * `podParent` as their parent in every hierarchy.
 */
export class CpuCgroup {
  /** CRI: LinuxPodSandboxConfig.cgroup_parent. */
  readonly podParent: string;
  readonly #dir: string;
  readonly #isV2: boolean;

  constructor(name: string) {
    this.#isV2 = existsSync(join(root, "cgroup.controllers"));
    this.#dir = this.#isV2 ? join(root, name) : join(root, "cpuacct", name);
    this.podParent = `/${name}/pods`;
    // In cgroup v2 only leaves may have processes (cgroups(7)).
    mkdirSync(join(this.#dir, "daemon"), { recursive: true });
  }

  /** Moves a process in, with all threads; what it starts from now on is in too. */
  add(pid: number): void {
    writeFileSync(join(this.#dir, "daemon/cgroup.procs"), String(pid));
  }

  /** CPU time so far, in ms. */
  usedMs(): number {
    if (!this.#isV2) return Number(readFileSync(join(this.#dir, "cpuacct.usage"), "utf8")) / 1e6;
    return Number(/^usage_usec (\d+)/m.exec(readFileSync(join(this.#dir, "cpu.stat"), "utf8"))?.[1]) / 1e3;
  }
}
