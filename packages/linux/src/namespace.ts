import { statSync } from "node:fs";
import { isErrno } from "./errno.ts";
import { native } from "./native.ts";

/** One line of a uid_map or gid_map, user_namespaces(7): `length` ids from `containerId` on are those from `hostId` on outside. */
export interface IdMapping {
  containerId: number;
  hostId: number;
  length: number;
}

export interface UserNamespaceOptions {
  /** Where to pin it: a path that is not there yet. */
  pin: string;
  uids: readonly IdMapping[];
  gids: readonly IdMapping[];
}

export interface NamespaceOptions {
  /** A new user namespace, which then owns the others: its root has its capabilities over them. */
  user?: UserNamespaceOptions;
  /** Where to pin a new network namespace: a path that is not there yet. */
  net?: string;
  ipc?: string;
  uts?: string;
  /** Wants `uts`. At most 64 bytes, sethostname(2). */
  hostname?: string;
  /** "net.ipv4.ip_forward" → "1", written inside. Each wants its namespace among the new ones. */
  sysctls?: Readonly<Record<string, string>>;
  /** Bring `lo` up. Wants `net`. */
  loopbackUp?: boolean;
}

/** namespaces(7) and sysctl(5) on what belongs to which; any other name would change the host. */
function sysctlNamespace(path: string): "net" | "ipc" | "uts" | undefined {
  if (path.startsWith("net/")) return "net";
  if (path.startsWith("fs/mqueue/")) return "ipc";
  if (/^kernel\/(shm[a-z_]+|msg[a-z_]+|sem|sem_next_id)$/.test(path)) return "ipc";
  if (path === "kernel/hostname" || path === "kernel/domainname") return "uts";
  return undefined;
}

/**
 * "net.ipv4.conf.eth0/1.rp_filter" → "net/ipv4/conf/eth0.1/rp_filter", and with slashes first, as it is: sysctl(8).
 * Throws TypeError on names that leave /proc/sys.
 */
export function sysctlPath(name: string): string {
  const first = /[./]/.exec(name)?.[0];
  const path = first === "." ? name.replace(/[./]/g, (c) => (c === "." ? "/" : ".")) : name;
  if (path.split("/").some((segment) => segment === "" || segment === "." || segment === ".."))
    throw new TypeError(`${name} is no sysctl name`);
  return path;
}

const mapText = (mappings: readonly IdMapping[]): string =>
  mappings.map((m) => `${m.containerId} ${m.hostId} ${m.length}\n`).join("");

/** What an id of a user namespace is outside of it; undefined when it is not mapped. */
export function hostIdOf(id: number, mappings: readonly IdMapping[]): number | undefined {
  const found = mappings.find((m) => id >= m.containerId && id - m.containerId < m.length);
  return found === undefined ? undefined : found.hostId + (id - found.containerId);
}

function create(options: NamespaceOptions, async: boolean): Promise<void> | undefined {
  const sysctls: string[] = [];
  for (const [name, value] of Object.entries(options.sysctls ?? {})) {
    const path = sysctlPath(name);
    const namespace = sysctlNamespace(path);
    if (namespace === undefined || options[namespace] === undefined) {
      throw new TypeError(
        `sysctl ${name} belongs to ${namespace === undefined ? "no namespace that is made here" : `a ${namespace} namespace, and none is made`}`,
      );
    }
    sysctls.push(`/proc/sys/${path}`, value);
  }
  return native.createNamespaces(
    options.net ?? null,
    options.ipc ?? null,
    options.uts ?? null,
    options.hostname ?? null,
    sysctls,
    options.loopbackUp ?? false,
    ...userArguments(options.user),
    async,
  );
}

function userArguments(user: UserNamespaceOptions | undefined): [string | null, string | null, string | null, number] {
  return user === undefined
    ? [null, null, null, -1]
    : [user.pin, mapText(user.uids), mapText(user.gids), hostIdOf(0, user.uids) ?? -1];
}

/**
 * Makes namespaces, sets them up and pins each as a bind mount on its path, all on a thread of its own that ends
 * with the call: no other thread is changed. Throws SystemError with `stage` one of thread, unshare, uid_map,
 * gid_map, enter, hostname, loopback, sysctl, pin; then nothing is left behind. Throws TypeError for what would change the host.
 */
export function createNamespaces(options: NamespaceOptions): void {
  void create(options, false);
}

/** The same, waiting on libuv's pool: a new network namespace waits for others that are being taken down. */
export async function createNamespacesAsync(options: NamespaceOptions): Promise<void> {
  await create(options, true);
}

/** Takes a pin away, mount and file; the namespace ends with its last process. Missing is fine. Throws SystemError. */
export function unpinNamespace(path: string): void {
  void native.unpinNamespace(path, false);
}

/** The same on libuv's pool. */
export async function unpinNamespaceAsync(path: string): Promise<void> {
  await native.unpinNamespace(path, true);
}

/**
 * "4:4026531840", the same for every path that leads to one namespace, or null when nothing is there or it is a process
 * that not even root may look into. Works for pins
 * and for /proc/PID/ns/net. A pin that lost its mount is a plain file and has an id as well, of no namespace.
 */
export function namespaceId(path: string): string | null {
  try {
    const stat = statSync(path, { bigint: true });
    return `${stat.dev}:${stat.ino}`;
  } catch (error) {
    if (isErrno(error, "ENOENT", "ESRCH", "EACCES")) return null;
    throw error;
  }
}
