import type { SELinuxOption } from "@keelson/cri/gen/runtime/v1/api.ts";
import { checkSingleLine, invalidField, quote } from "./field-check.ts";
import type { HostFacts } from "./host-facts.ts";

/** The four parts of a label (selinux(8)): `user:role:type:level`. */
export interface SeLinuxLabel {
  user: string;
  role: string;
  type: string;
  /** A sensitivity and, after a colon, categories: `s0:c1,c2`. */
  level: string;
}

/** The labels of a container in the runtime spec. */
export interface SeLinuxSpec {
  /** process.selinuxLabel */
  process: string;
  /** linux.mountLabel; also the label of the root file system and of mounts that are to be relabelled. */
  mount: string;
}

/** The categories of a level: 0 to 1023 (MCS of the reference policy). */
const categories = 1024;
const pairs = (categories * (categories - 1)) / 2;

const field = "linux.security_context.selinux_options";

/**
 * The label of a pod's containers: what is asked for, else what the machine's policy has for containers. When the level
 * is empty, `withFreeLevel` must find one.
 *
 * Undefined without SELinux: labels mean nothing to such a kernel, and a pod's manifest is written for the whole
 * cluster, so there they are checked and ignored, as in containerd and CRI-O. Also undefined in the host's PID or IPC
 * namespace when no label is asked for: with one, the host's processes would be out of reach (Docker, CRI-O). Throws
 * InvalidArgument for a malformed part.
 */
export function planPodSeLinux(
  options: SELinuxOption | undefined,
  sharesWithHost: boolean,
  host: HostFacts,
): SeLinuxLabel | undefined {
  const asked = checkParts(options);
  if (!host.seLinuxEnabled || (sharesWithHost && isEmpty(asked))) return undefined;
  return merge({ ...parseLabel(host.seLinuxProcessLabel), level: "" }, asked);
}

/**
 * The labels of a container: the pod's, changed by the container's own config. Undefined for a privileged one, as in
 * Docker and containerd: the policy then confines it no more than the daemon. Throws InvalidArgument.
 */
export function planContainerSeLinux(
  options: SELinuxOption | undefined,
  pods: SeLinuxLabel | undefined,
  privileged: boolean,
  host: HostFacts,
): SeLinuxSpec | undefined {
  const asked = checkParts(options);
  if (!host.seLinuxEnabled || privileged || (pods === undefined && isEmpty(asked))) return undefined;
  const label = merge(pods ?? parseLabel(host.seLinuxProcessLabel), asked);
  const file = parseLabel(host.seLinuxFileLabel);
  return { process: text(label), mount: text({ ...file, user: label.user, level: label.level }) };
}

/**
 * A pod's label, with a level of its own if none was asked for: a pair of categories that no other pod has, so that
 * pods cannot read each other's files.
 *
 * @param seed decides where the search begins, so that levels are not reused soon: the pod's id
 * @param used the levels of all other pods
 */
export function withFreeLevel(
  label: SeLinuxLabel,
  seed: string,
  used: ReadonlySet<string>,
  host: HostFacts,
): SeLinuxLabel {
  if (label.level !== "") return label;
  const sensitivity = parseLabel(host.seLinuxProcessLabel).level.split(":")[0]!;
  const start = hash(seed) % pairs;
  for (let i = 0; i < pairs; i++) {
    const level = `${sensitivity}:${categoryPair((start + i) % pairs)}`;
    if (!used.has(level)) return { ...label, level };
  }
  throw invalidField(`${field}.level`, `must be given: all ${pairs} pairs of categories are in use`);
}

/**
 * Parses `user:role:type:level`, where the level may contain colons. Throws InvalidArgument for fewer than four parts.
 */
function parseLabel(label: string): SeLinuxLabel {
  const [user = "", role = "", type = "", ...level] = label.split(":");
  if (level.length === 0) throw invalidField("SELinux label", `${quote(label)} must be user:role:type:level`);
  return { user, role, type, level: level.join(":") };
}

/** The n-th pair of distinct categories: 0,1; 0,2; 1,2; 0,3; … */
function categoryPair(n: number): string {
  const high = Math.floor((1 + Math.sqrt(1 + 8 * n)) / 2);
  return `c${n - (high * (high - 1)) / 2},c${high}`;
}

/** FNV-1a, 32 bits. */
function hash(seed: string): number {
  let value = 0x811c9dc5;
  for (const byte of Buffer.from(seed)) value = Math.imul(value ^ byte, 0x01000193) >>> 0;
  return value;
}

function checkParts(options: SELinuxOption | undefined): SeLinuxLabel {
  const { user = "", role = "", type = "", level = "" } = options ?? {};
  for (const [part, value] of Object.entries({ user, role, type })) {
    checkSingleLine(`${field}.${part}`, value, 256);
    if (!/^[A-Za-z0-9_.-]*$/.test(value))
      throw invalidField(
        `${field}.${part}`,
        `${quote(value)} must be a name of letters, digits, dots, hyphens and underscores`,
      );
  }
  checkSingleLine(`${field}.level`, level, 4096);
  if (level !== "" && !isLevel(level))
    throw invalidField(`${field}.level`, `${quote(level)} must be a level such as s0 or s0:c1,c2`);
  return { user, role, type, level };
}

/** mcs(8): a sensitivity or a range of them, each with categories: `s0`, `s0:c1,c5.c7`, `s0-s0:c0.c1023`. */
function isLevel(level: string): boolean {
  const category = "c(?:0|[1-9]\\d{0,2}|10[01]\\d|102[0-3])";
  const one = `s(?:0|[1-9]\\d?)(?::${category}(?:[.,]${category})*)?`;
  return new RegExp(`^${one}(?:-${one})?$`).test(level);
}

function merge(label: SeLinuxLabel, asked: SeLinuxLabel): SeLinuxLabel {
  const { user, role, type, level } = asked;
  return { user: user || label.user, role: role || label.role, type: type || label.type, level: level || label.level };
}

function isEmpty({ user, role, type, level }: SeLinuxLabel): boolean {
  return user + role + type + level === "";
}

function text({ user, role, type, level }: SeLinuxLabel): string {
  return `${user}:${role}:${type}:${level}`;
}
