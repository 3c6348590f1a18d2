import { checkSingleLine, invalidField, quote } from "./field-check.ts";

/** A kernel setting of a pod, to be written inside the pod's namespace. */
export interface SysctlPlan {
  /** With dots, as printed by sysctl(8). */
  name: string;
  /** The file, relative to /proc/sys. */
  file: string;
  value: string;
  namespace: "network" | "ipc";
}

/** Whether it is of one interface, which exists once the pod's network is attached. */
export function isOfInterface({ file }: SysctlPlan): boolean {
  return /^net\/\w+\/(conf|neigh)\/(?!(all|default|lo)\/)/.test(file);
}

/**
 * What the daemon's configuration says about pods' network namespaces, with the same choices as containerd and CRI-O.
 */
export interface SysctlPolicy {
  /** Ports below 1024 need no capability. */
  readonly unprivilegedPorts: boolean;
  /** Ping needs no capability. */
  readonly unprivilegedPing: boolean;
}

function defaultsOf(policy: SysctlPolicy): Record<string, string> {
  return {
    ...(policy.unprivilegedPorts ? { "net.ipv4.ip_unprivileged_port_start": "0" } : {}),
    ...(policy.unprivilegedPing ? { "net.ipv4.ping_group_range": "0 2147483647" } : {}),
  };
}

/** The settings of an IPC namespace (ipc_namespaces(7)) that do not share a prefix. */
const ipcNames = new Set([
  "kernel.msgmax",
  "kernel.msgmnb",
  "kernel.msgmni",
  "kernel.sem",
  "kernel.shmall",
  "kernel.shmmax",
  "kernel.shmmni",
  "kernel.shm_rmid_forced",
]);

/**
 * The pod's sysctls, sorted by name; those that it asks for replace those of the policy. Only settings of the pod's own
 * namespaces are allowed, as any other would change the host (CRI: LinuxPodSandboxConfig.sysctls). Throws
 * InvalidArgument naming the sysctl.
 */
export function planSysctls(
  asked: Readonly<Record<string, string>>,
  own: { network: boolean; ipc: boolean },
  policy: SysctlPolicy,
): SysctlPlan[] {
  const plans = new Map<string, SysctlPlan>();
  if (own.network) {
    for (const [name, value] of Object.entries(defaultsOf(policy))) plans.set(name, planSysctl(name, value));
  }
  for (const [name, value] of Object.entries(asked)) {
    const plan = planSysctl(name, value);
    if (!own[plan.namespace])
      throw invalidField(
        `linux.sysctls[${plan.name}]`,
        `belongs to the ${plan.namespace} namespace, which this pod shares with the host; give the pod its own or leave it out`,
      );
    plans.set(plan.name, plan);
  }
  return [...plans.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
}

function planSysctl(spelling: string, value: string): SysctlPlan {
  const file = fileOf(spelling);
  const name = file.replaceAll(/[./]/g, (separator) => (separator === "/" ? "." : "/"));
  if (value.length > 4096 || !/^[\x20-\x7e\t]+$/.test(value))
    throw invalidField(`linux.sysctls[${name}]`, `${quote(value)} must be one line of text`);
  return { name, file, value, namespace: namespaceOf(name) };
}

function namespaceOf(name: string): SysctlPlan["namespace"] {
  if (name.startsWith("net.")) return "network";
  if (name.startsWith("fs.mqueue.") || ipcNames.has(name)) return "ipc";
  throw invalidField(
    `linux.sysctls[${name}]`,
    "does not belong to a namespace and would change the whole machine; net.*, kernel.shm*, kernel.msg*, kernel.sem and fs.mqueue.* can be set",
  );
}

/** sysctl(8) accepts both separators: the one that comes first separates, and the other is part of a name. */
function fileOf(spelling: string): string {
  checkSingleLine("linux.sysctls", spelling, 256);
  const dotted = spelling.search(/[./]/) === spelling.indexOf(".");
  const file = dotted ? spelling.replaceAll(/[./]/g, (separator) => (separator === "." ? "/" : ".")) : spelling;
  const parts = file.split("/");
  if (parts.length < 2 || !parts.every((part) => /^[A-Za-z0-9_][A-Za-z0-9_.@-]*$/.test(part) && !part.includes(".."))) {
    throw invalidField("linux.sysctls", `${quote(spelling)} is not the name of a sysctl such as net.ipv4.ip_forward`);
  }
  return file;
}
