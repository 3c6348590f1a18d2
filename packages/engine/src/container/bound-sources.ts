import { Code, StatusError, wrapError } from "@keelson/base/status.ts";
import { type MountInfo, readMounts } from "@keelson/linux/mount.ts";
import type { ResolvedPath } from "@keelson/linux/resolve-paths.ts";
import type { DeviceSpec } from "@keelson/oci/runtime-spec/linux.ts";
import type { MountSpec, Spec } from "@keelson/oci/runtime-spec/spec.ts";
import { isAtOrBelow } from "@keelson/plan/clean-path.ts";
import type { ContainerPlan } from "@keelson/plan/container-plan.ts";
import type { SourceTraits } from "@keelson/plan/mounts-spec.ts";
import type { MountPlan } from "@keelson/plan/mounts.ts";
import type { Machine } from "../capabilities.ts";
import type { SourceOptions } from "../machine/container-host.ts";
import { type IdMap, idMapOf } from "../machine/id-map.ts";

/** The mounts below each host path, parents first: their paths relative to it, and their sources. */
type MountsBelow = ReadonlyMap<string, readonly { path: string; source: string; isDirectory: boolean }[]>;

/**
 * The mounts below the host paths of a container, if they must be bound one by one: in a user namespace, because crun
 * before 1.9 leaves them out there, and with mapped ids, because mount_setattr(2) maps all mounts of a tree or none.
 * Like findHostPaths, to be called without a lock.
 */
export async function findMountsBelow(
  d: Pick<Machine, "containerHost">,
  c: Pick<UnboundSources, "plan" | "hostPaths">,
  inUserNamespace: boolean,
  signal: AbortSignal,
): Promise<MountsBelow> {
  const { plan, hostPaths } = c;
  if (!inUserNamespace && !plan.mounts.some((mount) => mount.idMappings !== undefined)) return new Map();
  const mounts = readMounts();
  const found = new Map<string, { path: string; source: string; isDirectory: boolean }[]>();
  for (const resolved of hostPaths.values()) {
    if (!("path" in resolved) || !resolved.isDirectory || found.has(resolved.path)) continue;
    const targets = visibleBelow(resolved.path, mounts);
    const leads = targets.length === 0 ? [] : await d.containerHost.resolveHostPaths(targets, false, signal);
    const prefix = resolved.path === "/" ? 1 : resolved.path.length + 1;
    // One that was unmounted in the meantime leads elsewhere.
    found.set(
      resolved.path,
      targets.flatMap((target, i) => {
        const lead = leads[i]!;
        return "path" in lead && lead.path === target
          ? { path: target.slice(prefix), source: target, isDirectory: lead.isDirectory }
          : [];
      }),
    );
  }
  return found;
}

/**
 * The targets of the mounts that are visible below a path; a later mount hides those under it. Exported for its test.
 */
export function visibleBelow(path: string, mounts: readonly MountInfo[]): string[] {
  const around = mounts.findLast((m) => isAtOrBelow(path, m.target));
  if (around === undefined) return [];
  const seen = new Set([around.id]);
  const targets = new Set<string>();
  for (const mount of mounts) {
    if (
      mount.id === around.id ||
      !seen.has(mount.parentId) ||
      mount.target === path ||
      !isAtOrBelow(mount.target, path)
    )
      continue;
    seen.add(mount.id);
    targets.add(mount.target);
  }
  return [...targets];
}

/** A container whose mount sources are ready, except for what user namespaces and old runtimes need. */
interface UnboundSources {
  readonly plan: ContainerPlan;
  /** Of the pod's user namespace. */
  readonly idMap: IdMap | undefined;
  /** What prepareMountSources found, in the plan's order. */
  readonly mountSources: readonly string[];
  /** The sources of the pod's own mounts. */
  readonly podFiles: readonly string[];
  /** What findHostPaths found. */
  readonly hostPaths: ReadonlyMap<string, ResolvedPath>;
  /** What findMountsBelow found. */
  readonly mountsBelow: MountsBelow;
}

interface BoundSources {
  /** Of the plan's mounts, in its order. */
  readonly mountSources: readonly string[];
  readonly sourceTraits: Readonly<Record<string, SourceTraits>>;
}

/**
 * Does to the sources of a container's mounts what not every OCI runtime can do: maps ids, makes them read-only
 * recursively, and in a user namespace keeps the mounts below them and the flags of their file systems. What it binds
 * stays in the bundle until releaseSources.
 *
 * Throws FailedPrecondition when a file system cannot map ids, DeadlineExceeded when one does not answer.
 */
export async function bindSources(
  d: Pick<Machine, "containerHost">,
  u: UnboundSources,
  signal: AbortSignal,
): Promise<BoundSources> {
  const { plan, idMap } = u;
  const binder = new SourceBinder(d, u, signal);
  const mountSources: string[] = [];
  for (const [i, mount] of plan.mounts.entries()) {
    try {
      mountSources.push(await binder.bind(i, mount, u.mountSources[i]!));
    } catch (error) {
      throw wrapError(`mount ${mount.destination}`, error);
    }
  }
  if (idMap !== undefined) for (const file of u.podFiles) binder.keepFlags(file, file);
  return { mountSources, sourceTraits: Object.fromEntries(binder.traits) };
}

/** Removes what bindSources and makeDevices left on the host: once the container is created, it has its own mounts. */
export async function releaseSources(
  { containerHost }: Pick<Machine, "containerHost">,
  { plan, idMap }: Pick<UnboundSources, "plan" | "idMap">,
): Promise<void> {
  if (idMap !== undefined || plan.mounts.some(isChanged)) await containerHost.unbindSources(plan.id);
}

/** Whether a mount needs its own source. */
function isChanged({ source, recursiveReadOnly, idMappings }: MountPlan): boolean {
  return source.is === "host" && (recursiveReadOnly || idMappings !== undefined);
}

class SourceBinder {
  readonly traits = new Map<string, SourceTraits>();
  readonly #d: Pick<Machine, "containerHost">;
  readonly #u: UnboundSources;
  readonly #signal: AbortSignal;
  /** Read once: there may be a thousand mounts. */
  readonly #hostMounts: readonly MountInfo[];

  constructor(d: Pick<Machine, "containerHost">, u: UnboundSources, signal: AbortSignal) {
    this.#d = d;
    this.#u = u;
    this.#signal = signal;
    this.#hostMounts =
      u.idMap === undefined && !u.plan.mounts.some((mount) => mount.idMappings !== undefined) ? [] : readMounts();
  }

  /** @param index of the mount in the plan. Returns the path for the runtime to bind. */
  async bind(index: number, mount: MountPlan, source: string): Promise<string> {
    const isApart = this.#u.idMap !== undefined || mount.idMappings !== undefined;
    const below = isApart && mount.source.is === "host" ? (this.#u.mountsBelow.get(source) ?? []) : [];
    if (!isChanged(mount) && below.length === 0) {
      if (this.#u.idMap !== undefined) this.keepFlags(source, source);
      return source;
    }
    const name = String(index);
    const bound = await this.#bind(name, source, mount, { isDirectory: this.#isDirectory(mount), recursive: !isApart });
    const inner: { path: string; source: string }[] = [];
    for (const [k, { path, source, isDirectory }] of below.entries()) {
      inner.push({ path, source: await this.#bindBelow(`${name}.${k}`, source, mount, isDirectory) });
    }
    if (isApart) this.keepFlags(source, bound, inner);
    return bound;
  }

  /** Records the flags of the mount that holds `source` for what is bound from it. */
  keepFlags(source: string, bound: string, below: SourceTraits["below"] = []): void {
    const around = this.#hostMounts.findLast((m) => isAtOrBelow(source, m.target));
    this.traits.set(bound, { flags: lockedFlags.filter((flag) => around?.options.includes(flag)), below });
  }

  async #bindBelow(name: string, source: string, mount: MountPlan, isDirectory: boolean): Promise<string> {
    const bound = await this.#bindMapped(name, source, mount, isDirectory);
    this.keepFlags(source, bound);
    return bound;
  }

  /** A mount below keeps its ids if its file system cannot map them, as proc(5). */
  async #bindMapped(name: string, source: string, mount: MountPlan, isDirectory: boolean): Promise<string> {
    try {
      return await this.#bind(name, source, mount, { isDirectory, recursive: false });
    } catch (error) {
      if (mount.idMappings === undefined || !(error instanceof StatusError && error.code === Code.FailedPrecondition))
        throw error;
      const { idMappings: _, ...unmapped } = mount;
      return await this.#bind(name, source, unmapped, { isDirectory, recursive: false });
    }
  }

  #bind(
    name: string,
    source: string,
    { propagation, recursiveReadOnly, idMappings }: MountPlan,
    how: Pick<SourceOptions, "isDirectory" | "recursive">,
  ): Promise<string> {
    const { plan, idMap } = this.#u;
    const options = { ...how, propagation, recursiveReadOnly, idMap: idMapOf(idMappings, idMap) };
    return this.#d.containerHost.bindSource(plan.id, name, source, options, this.#signal);
  }

  #isDirectory({ source }: MountPlan): boolean {
    const found = source.is === "host" ? this.#u.hostPaths.get(source.path) : undefined;
    return found === undefined || "error" in found || found.isDirectory;
  }
}

/**
 * mount_namespaces(7), "Restrictions on mount namespaces": a less privileged one cannot clear these flags, nor mount
 * without them.
 */
const lockedFlags = ["nosuid", "nodev", "noexec", "ro"] as const;

/**
 * Gives a container in a user namespace its device nodes as mounts: mknod(2) is forbidden there, and runc would bind
 * the host's node at the same path, whatever that is.
 */
export function withBoundDevices(
  { containerHost }: Pick<Machine, "containerHost">,
  id: string,
  spec: Spec,
  idMap: IdMap | undefined,
): Spec {
  const devices = spec.linux?.devices ?? [];
  if (idMap === undefined || devices.length === 0) return spec;
  const sources = containerHost.makeDevices(id, devices, idMap);
  const { devices: _, ...linux } = spec.linux!;
  return {
    ...spec,
    linux,
    mounts: [...(spec.mounts ?? []), ...devices.map((device, i) => deviceMount(device, sources[i]!))],
  };
}

function deviceMount({ path }: DeviceSpec, source: string): MountSpec {
  return { destination: path, type: "bind", source, options: ["bind", "rprivate", "nosuid", "noexec"] };
}
