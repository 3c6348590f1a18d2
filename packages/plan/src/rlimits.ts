import type { RlimitSpec } from "@keelson/oci/runtime-spec/spec.ts";

/** getrlimit(2), without RLIMIT_ and in small letters as ulimit options of container tools are; and what /proc/PID/limits calls them. */
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

/** `nofile=1024:524288` → what the runtime spec has; a single number is both. Undefined when it is not of that form. */
export function parseRlimit(text: string): RlimitSpec | undefined {
  const [, name = "", soft, hard = soft] = /^([a-z]+)=(\d{1,15})(?::(\d{1,15}))?$/.exec(text) ?? [];
  if (!Object.hasOwn(names, name) || Number(soft) > Number(hard)) return undefined;
  return { type: `RLIMIT_${name.toUpperCase()}`, soft: Number(soft), hard: Number(hard) };
}

/** The first that only a process with CAP_SYS_RESOURCE could give, by our own limits as /proc/self/limits has them; with its hard limit. */
export function rlimitOverOwn(
  rlimits: readonly RlimitSpec[],
  ownLimits: string,
): { name: string; ownHard: number } | undefined {
  for (const { type, hard } of rlimits) {
    const name = type.slice("RLIMIT_".length).toLowerCase();
    const line = ownLimits.split("\n").find((l) => l.startsWith(names[name]!)) ?? "";
    const ownHard = Number(/^\S+ +(\d+)/.exec(line.slice(names[name]!.length).trimStart())?.[1] ?? Infinity);
    if (hard > ownHard) return { name, ownHard };
  }
  return undefined;
}
