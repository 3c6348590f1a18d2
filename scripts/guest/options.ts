import { parseArgs } from "node:util";

/** The options of a run in the guest. */
export interface GuestOptions {
  /** Runs the test files with one of these in their path. */
  readonly parts: readonly string[];
  /** The cgroup drivers, one after the other. */
  readonly drivers: readonly CgroupDriver[];
  /** When QEMU is killed. */
  readonly limitMs: number;
  /** How many times longer than usual a test may wait. */
  readonly slowness: number;
}

export type CgroupDriver = "cgroupfs" | "systemd";

/** The host tests for which cgroup v2, systemd, AppArmor or all capabilities make a difference. */
export const defaultParts = [
  "linux/src/cgroup",
  "containers/identity",
  "containers/security",
  "exec-sync",
  "lifecycle",
  "pods/environment",
  "pod-host",
  "pod-init",
  "cni-network",
  "overlay",
  "containers/resources",
  "restart",
  "containers/stop",
  "systemd",
  "systemd-unit",
  "while-down",
].map((name) => `${name}.host.test.ts`);

export const usage = `npm run test:guest -- [--all] [--driver cgroupfs|systemd] [--minutes N] [PART...]
  PART      host test files with PART in their path; without any, those for which cgroup v2, systemd, AppArmor or
            all capabilities make a difference
  --all     all host test files
  --driver  only with this cgroup driver; without it with both, one after the other
  --minutes after which the guest is ended (90)`;

/** Reads the command line. Throws an Error with the usage for what it does not understand. */
export function parseOptions(args: readonly string[]): GuestOptions {
  const { values, positionals } = parse(args);
  const minutes = Number(values.minutes ?? 90);
  const driver = values.driver;
  if (driver !== undefined && driver !== "cgroupfs" && driver !== "systemd")
    throw new Error(`--driver ${driver}\n${usage}`);
  if (!(minutes > 0)) throw new Error(`--minutes ${values.minutes}\n${usage}`);
  const strange = positionals.find((part) => !/^[\w./-]+$/.test(part));
  if (strange !== undefined) throw new Error(`no host test file has ${strange} in its path\n${usage}`);
  return {
    parts: values.all ? [".host.test.ts"] : positionals.length > 0 ? positionals : defaultParts,
    drivers: driver === undefined ? ["cgroupfs", "systemd"] : [driver],
    limitMs: minutes * 60_000,
    slowness: 10,
  };
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: { all: { type: "boolean" }, driver: { type: "string" }, minutes: { type: "string" } },
    });
  } catch (error) {
    throw new Error(`${(error as Error).message}\n${usage}`, { cause: error });
  }
}
