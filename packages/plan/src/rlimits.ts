import type { RlimitSpec } from "@keelson/oci/runtime-spec/spec.ts";

/**
 * The limits of getrlimit(2), without RLIMIT_ and in lower case as in the ulimit options of container tools, with their
 * names in /proc/PID/limits.
 */
const names: Readonly<Record<string, string>> = {
  as: "Max address space",
  core: "Max core file size",
  cpu: "Max cpu time",
  data: "Max data size",
  fsize: "Max file size",
  locks: "Max file locks",
  memlock: "Max locked memory",
  msgqueue: "Max msgqueue size",
  nice: "Max nice priority",
  nofile: "Max open files",
  nproc: "Max processes",
  rss: "Max resident set",
  rtprio: "Max realtime priority",
  rttime: "Max realtime timeout",
  sigpending: "Max pending signals",
  stack: "Max stack size",
};

/**
 * Parses `nofile=1024:524288` to the runtime spec's form; a single number is both the soft and the hard limit.
 * Undefined when the text is wrong.
 */
export function parseRlimit(text: string): RlimitSpec | undefined {
  const [, name = "", soft, hard = soft] = /^([a-z]+)=(\d{1,15})(?::(\d{1,15}))?$/.exec(text) ?? [];
  if (!Object.hasOwn(names, name) || Number(soft) > Number(hard)) return undefined;
  return { type: `RLIMIT_${name.toUpperCase()}`, soft: Number(soft), hard: Number(hard) };
}

/**
 * The first limit above our own hard limit, which only a process with CAP_SYS_RESOURCE could give, with our own.
 * `ownLimits` is the text of /proc/self/limits.
 */
export function rlimitOverOwn(
  rlimits: readonly RlimitSpec[],
  ownLimits: string,
): { name: string; ownHard: number } | undefined {
  for (const { type, hard } of rlimits) {
    const name = type.slice("RLIMIT_".length).toLowerCase();
    const ownHard = ownLimit(name, ownLimits).hard;
    if (hard > ownHard) return { name, ownHard };
  }
  return undefined;
}

/** The soft RLIMIT_STACK in the text of /proc/self/limits; undefined when it is unlimited. */
export function ownStackLimit(ownLimits: string): number | undefined {
  const { soft } = ownLimit("stack", ownLimits);
  return soft === Infinity ? undefined : soft;
}

function ownLimit(name: string, ownLimits: string): { soft: number; hard: number } {
  const line = ownLimits.split("\n").find((l) => l.startsWith(names[name]!)) ?? "";
  const [, soft, hard] = /^(\d+|unlimited) +(\d+|unlimited)/.exec(line.slice(names[name]!.length).trimStart()) ?? [];
  const valueOf = (text = "unlimited") => (text === "unlimited" ? Infinity : Number(text));
  return { soft: valueOf(soft), hard: valueOf(hard) };
}
