import { statSync } from "node:fs";
import { isErrno } from "./errno.ts";
import { native } from "./native.ts";

/**
 * One line of a uid_map or gid_map, user_namespaces(7): `length` ids from `containerId` on are, outside, those from
 * `hostId` on.
 */
export interface IdMapping {
  containerId: number;
  hostId: number;
  length: number;
}

export interface UserNamespaceOptions {
  /** Where to pin it: a path that does not exist yet. */
  pin: string;
  uids: readonly IdMapping[];
  gids: readonly IdMapping[];
}

export interface NamespaceOptions {
  /** A new user namespace, which owns the others: its root's capabilities hold over them. */
  user?: UserNamespaceOptions;
  /** Where to pin a new network namespace: a path that does not exist yet. */
  net?: string;
  ipc?: string;
  uts?: string;
  /** Requires `uts`. At most 64 bytes, sethostname(2). */
  hostname?: string;
  /** "net.ipv4.ip_forward" → "1", written inside. Each requires its namespace to be among the new ones. */
  sysctls?: Readonly<Record<string, string>>;
  /** Bring `lo` up. Requires `net`. */
  loopbackUp?: boolean;
}

/** Which namespace a sysctl belongs to: namespaces(7), sysctl(5). Any other name would change the host. */
function sysctlNamespace(path: string): "net" | "ipc" | "uts" | undefined {
  if (path.startsWith("net/")) return "net";
  if (path.startsWith("fs/mqueue/")) return "ipc";
  if (/^kernel\/(shm[a-z_]+|msg[a-z_]+|sem|sem_next_id)$/.test(path)) return "ipc";
  if (path === "kernel/hostname" || path === "kernel/domainname") return "uts";
  return undefined;
}

/**
 * "net.ipv4.conf.eth0/1.rp_filter" → "net/ipv4/conf/eth0.1/rp_filter"; a name whose first separator is a slash stays as
 * it is: sysctl(8). Throws TypeError on names that lead out of /proc/sys.
 */
export function sysctlPath(name: string): string {
  const first = /[./]/.exec(name)?.[0];
  const path = first === "." ? name.replace(/[./]/g, (c) => (c === "." ? "/" : ".")) : name;
  if (path.split("/").some((segment) => segment === "" || segment === "." || segment === ".."))
    throw new TypeError(`${name} is not the name of a sysctl`);
  return path;
}

const mapText = (mappings: readonly IdMapping[]): string =>
  mappings.map((m) => `${m.containerId} ${m.hostId} ${m.length}\n`).join("");

/** The id that an id of a user namespace is mapped to outside; undefined when it is not mapped. */
export function hostIdOf(id: number, mappings: readonly IdMapping[]): number | undefined {
  const found = mappings.find((m) => id >= m.containerId && id - m.containerId < m.length);
  return found === undefined ? undefined : found.hostId + (id - found.containerId);
}

/** Path, value, path, value … Throws TypeError for what belongs to none of the namespaces that are given. */
function sysctlWrites(
  sysctls: Readonly<Record<string, string>>,
  namespaces: Pick<NamespaceOptions, "net" | "ipc" | "uts">,
): string[] {
  return Object.entries(sysctls).flatMap(([name, value]) => {
    const path = sysctlPath(name);
    const namespace = sysctlNamespace(path);
    if (namespace === undefined || namespaces[namespace] === undefined) {
      throw new TypeError(
        `sysctl ${name} belongs to ${namespace === undefined ? "no namespace that is created here" : `a ${namespace} namespace, and none is created`}`,
      );
    }
    return [`/proc/sys/${path}`, value];
  });
}

function namespacesCall(options: NamespaceOptions): Parameters<typeof native.createNamespaces>[0] {
  const { user } = options;
  return {
    net: options.net ?? null,
    ipc: options.ipc ?? null,
    uts: options.uts ?? null,
    hostname: options.hostname ?? null,
    sysctls: sysctlWrites(options.sysctls ?? {}, options),
    isLoopbackUp: options.loopbackUp ?? false,
    user: user?.pin ?? null,
    uidMap: user === undefined ? null : mapText(user.uids),
    gidMap: user === undefined ? null : mapText(user.gids),
    rootUid: (user === undefined ? undefined : hostIdOf(0, user.uids)) ?? -1,
  };
}

/**
 * Creates namespaces, sets them up and pins each as a bind mount on its path. It all happens on a thread that ends with
 * the call: no other thread is changed. Throws SystemError with `stage` one of thread, unshare, uid_map, gid_map,
 * enter, hostname, loopback, sysctl, pin; then nothing is left behind. Throws TypeError for what would change the host.
 */
export function createNamespaces(options: NamespaceOptions): void {
  native.createNamespaces(namespacesCall(options));
}

/** The same on libuv's pool: creating a network namespace may have to wait while others are torn down. */
export async function createNamespacesAsync(options: NamespaceOptions): Promise<void> {
  await native.createNamespacesAsync(namespacesCall(options));
}

/**
 * Writes sysctls of a pinned network namespace, "net.ipv4.conf.eth0.rp_filter" → "1", on a thread that ends with the
 * call. Throws SystemError, whose `path` is the file of the first that fails, and TypeError for those of no network.
 */
export async function setNetworkSysctls(pin: string, sysctls: Readonly<Record<string, string>>): Promise<void> {
  await native.setSysctlsAsync({ net: pin, sysctls: sysctlWrites(sysctls, { net: pin }) });
}

/**
 * Removes a pin, mount and file; the namespace ends with its last process. It is no error when there is none. Throws
 * SystemError.
 */
export function unpinNamespace(path: string): void {
  native.unpinNamespace(path);
}

/** The same on libuv's pool. */
export async function unpinNamespaceAsync(path: string): Promise<void> {
  await native.unpinNamespaceAsync(path);
}

/**
 * "4:4026531840", the same for every path that leads to the namespace; null when nothing is there, or for a process
 * that not even root may look into. Works for pins and for /proc/PID/ns/net. A pin that lost its mount is a plain file,
 * whose id is that of no namespace.
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
