import { type IDMapping, NamespaceMode, type UserNamespace } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { IdMappingSpec } from "@keelson/oci/runtime-spec/linux.ts";
import { invalidField, quote, unsupportedHere } from "./field-check.ts";
import type { HandlerFacts, HostFacts } from "./host-facts.ts";
import type { ResolvedUser } from "./user.ts";

/** `length` ids, from `containerId` on inside and from `hostId` on outside (user_namespaces(7)). */
export interface IdMapping {
  containerId: number;
  hostId: number;
  length: number;
}

/** The ids of a user namespace or of an idmapped mount. Plain JSON. */
export interface IdMappings {
  uids: IdMapping[];
  gids: IdMapping[];
}

/** Not an id: chown(2) takes it as "do not change". */
const maxId = 0xffff_ffff;

/** user_namespaces(7): how many lines the kernel accepts in one map. */
const maxMappings = 340;

/**
 * CRI: UserNamespace of a pod; undefined is the host's. NODE means the host's, and so do missing options: a kubelet
 * that supports user namespaces always sends them. POD has one mapping of uids and one of gids, each from the
 * container's id 0 on. Throws InvalidArgument for anything else, and FailedPrecondition where this machine has no
 * idmapped mounts or the handler no user namespaces.
 */
export function planPodUserNamespace(
  field: string,
  options: UserNamespace | undefined,
  host: HostFacts,
  handler: HandlerFacts,
): IdMappings | undefined {
  const mappings = readUserNamespace(field, options);
  if (mappings === undefined) return undefined;
  if (host.idMapProblem !== "")
    throw unsupportedHere(`${field}.mode`, `is POD, and pods cannot have user namespaces here: ${host.idMapProblem}`);
  if (!handler.userNamespaces)
    throw unsupportedHere(
      `${field}.mode`,
      `is POD, and the runtime handler ${quote(handler.name)} has no user namespaces; use crun or runc`,
    );
  return mappings;
}

/**
 * A container's options must be the same as its pod's; missing options mean the pod's (CRI: if the struct is nil, POD
 * must be assumed). Throws InvalidArgument.
 */
export function checkContainerUserNamespace(
  field: string,
  options: UserNamespace | undefined,
  pods: IdMappings | undefined,
): void {
  if (options === undefined) return;
  const own = readUserNamespace(field, options);
  if (JSON.stringify(own) === JSON.stringify(pods)) return;
  if (own === undefined)
    throw invalidField(
      `${field}.mode`,
      "is NODE, but the pod has a user namespace; say the same as in the config of the pod",
    );
  if (pods === undefined)
    throw invalidField(
      `${field}.mode`,
      "is POD, but the pod has no user namespace; say the same as in the config of the pod",
    );
  throw invalidField(field, "has other mappings than the pod; say the same as in the config of the pod");
}

function readUserNamespace(field: string, options: UserNamespace | undefined): IdMappings | undefined {
  if (options === undefined) return undefined;
  const { mode, uids, gids } = options;
  if (mode === NamespaceMode.POD)
    return { uids: [fromZero(`${field}.uids`, uids)], gids: [fromZero(`${field}.gids`, gids)] };
  if (mode !== NamespaceMode.NODE) throw invalidField(`${field}.mode`, "must be POD or NODE");
  if (uids.length + gids.length > 0)
    throw invalidField(field, "has mappings, but its mode NODE is the host's user namespace, where nothing is mapped");
  return undefined;
}

function fromZero(field: string, mappings: readonly IDMapping[]): IdMapping {
  const [first] = mappings;
  if (first === undefined || mappings.length > 1)
    throw invalidField(field, `has ${mappings.length} mappings; a pod's user namespace must have one`);
  if (first.containerId !== 0) throw invalidField(`${field}[0].container_id`, `is ${first.containerId}; it must be 0`);
  return readMapping(`${field}[0]`, first);
}

/** CRI: Mount.uidMappings and gidMappings; undefined when there are none. Throws InvalidArgument. */
export function planMountMappings(
  field: string,
  uidMappings: readonly IDMapping[],
  gidMappings: readonly IDMapping[],
): IdMappings | undefined {
  if (uidMappings.length + gidMappings.length === 0) return undefined;
  return {
    uids: readMappings(`${field}.uidMappings`, uidMappings),
    gids: readMappings(`${field}.gidMappings`, gidMappings),
  };
}

function readMappings(field: string, mappings: readonly IDMapping[]): IdMapping[] {
  if (mappings.length === 0)
    throw invalidField(field, "is missing: a mount has mappings of both uids and gids, or none");
  if (mappings.length > maxMappings)
    throw invalidField(field, `has ${mappings.length} mappings; the kernel accepts ${maxMappings}`);
  const read = mappings.map((mapping, i) => readMapping(`${field}[${i}]`, mapping));
  for (const side of ["containerId", "hostId"] as const) {
    const sorted = read.toSorted((a, b) => a[side] - b[side]);
    if (sorted.some((mapping, i) => i > 0 && sorted[i - 1]![side] + sorted[i - 1]!.length > mapping[side]))
      throw invalidField(field, "has mappings that overlap");
  }
  return read;
}

function readMapping(field: string, { containerId, hostId, length }: IDMapping): IdMapping {
  if (length === 0) throw invalidField(`${field}.length`, "is 0; a mapping must have at least one id");
  if (hostId + length > maxId)
    throw invalidField(
      `${field}.host_id`,
      `is ${hostId}, and with a length of ${length} leads beyond the highest id, ${maxId - 1}`,
    );
  if (containerId + length > maxId)
    throw invalidField(
      `${field}.container_id`,
      `is ${containerId}, and with a length of ${length} leads beyond the highest id, ${maxId - 1}`,
    );
  return { containerId, hostId, length };
}

/** runtime-spec config-linux.md#user-namespace-mappings */
export function mappingsSpec(mappings: readonly IdMapping[]): IdMappingSpec[] {
  return mappings.map(({ containerId, hostId, length }) => ({
    containerID: containerId,
    hostID: hostId,
    size: length,
  }));
}

/** Which ids on the host are the container's root. */
export function hostRootOf(mappings: IdMappings | undefined): { uid: number; gid: number } {
  return { uid: mappings?.uids[0]?.hostId ?? 0, gid: mappings?.gids[0]?.hostId ?? 0 };
}

/**
 * Throws InvalidArgument for a user or group that the pod's user namespace does not have: the runtimes' own error
 * messages do not explain it.
 */
export function checkUserIsMapped({ uid, gid, additionalGids }: ResolvedUser, pods: IdMappings | undefined): void {
  if (pods === undefined) return;
  const uids = pods.uids[0]!.length;
  const gids = pods.gids[0]!.length;
  if (uid >= uids)
    throw invalidField(
      "linux.security_context.run_as_user",
      `is ${uid}, and the pod's user namespace has only the ids below ${uids}`,
    );
  const outside = [gid, ...(additionalGids ?? [])].find((id) => id >= gids);
  if (outside !== undefined)
    throw invalidField(
      "linux.security_context",
      `has the group ${outside}, and the pod's user namespace has only the ids below ${gids}`,
    );
}

/**
 * An unprivileged id for the pod's own process, so that it does not run as root, as containers might: the highest id in
 * the namespace, but at most 65535, which pods without a user namespace use.
 */
export function nobodyOf({ uids, gids }: IdMappings): number {
  return Math.min(65_535, uids[0]!.length - 1, gids[0]!.length - 1);
}
