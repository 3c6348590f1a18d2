import { fieldsOf } from "@keelson/cri/json.ts";
import { callNames } from "@keelson/cri/service.ts";
import { type ConfigType, type FieldState, fieldState } from "@keelson/plan/refused-fields.ts";

/** The command that regenerates docs/cri.md. */
export const regenerate = "KEELSON_WRITE_DOCS=1 bin/node --test packages/engine/src/calls/cri-doc.test.ts";

/** What is worth knowing about a field besides its state. A path also stands for everything below it. */
const notes: Readonly<Record<ConfigType, Readonly<Record<string, string>>>> = {
  PodSandboxConfig: {
    metadata: "name, namespace and uid are required; with the attempt they are unique among pods",
    hostname: "the machine's own when empty; checked against hostname(7)",
    log_directory: "absolute; created when it does not exist",
    dns_config: "becomes /etc/resolv.conf; without it, a copy of the host's",
    port_mappings: "passed to the CNI plugins; ignored in the host's network",
    annotations:
      "1 MiB together with the labels; `io.kubernetes.cri-o.ShmSize` sets the size of /dev/shm if `shm_size_annotation` in `[pods]` allows it",
    "linux.cgroup_parent": "a path for cgroupfs, a slice for systemd; RuntimeConfig says which driver it is",
    "linux.security_context.namespace_options.network": "POD or NODE",
    "linux.security_context.namespace_options.pid": "POD, CONTAINER or NODE",
    "linux.security_context.namespace_options.ipc": "POD or NODE",
    "linux.security_context.namespace_options.target_id": "only for containers: InvalidArgument",
    "linux.security_context.namespace_options.userns_options":
      "POD with one mapping of uids and one of gids from container_id 0, on Linux 5.19 with a file system that can map ids (see operating.md); pid and ipc are then the pod's own. NODE, or none, means the host's",
    "linux.security_context.selinux_options":
      "always checked; applied if the kernel has SELinux, with two categories of the pod's own when no level is given; otherwise left out, because a manifest is written for the whole cluster",
    "linux.security_context.privileged": "allows privileged containers in the pod",
    "linux.sysctls":
      "those of the pod's own network and IPC namespaces; net.ipv4.ip_unprivileged_port_start=0 and net.ipv4.ping_group_range=0 2147483647 are set unless `unprivileged_ports` and `unprivileged_ping` in `[pods]` of the configuration are false",
  },
  ContainerConfig: {
    metadata: "the name is required; with the attempt it is unique in its pod",
    "image.image": "an image on this node, by id, tag or digest",
    "image.user_specified_image": "what the status shows",
    command: "replaces the image's Entrypoint and Cmd; one of the two must give a command",
    args: "replaces the image's Cmd",
    working_dir: "absolute; created when it does not exist; when empty, the image's or /",
    envs: "override the image's; the last of several with the same name counts; values may have newlines and equals signs, and must be UTF-8 without NUL",
    "mounts.host_path": "links are followed; a missing one becomes a directory, unless `[containers]` says otherwise",
    "mounts.readonly": "for the mount itself; see recursive_read_only for the mounts below it",
    "mounts.recursive_read_only": "needs readonly, PROPAGATION_PRIVATE and Linux 5.12; works with every runtime",
    "mounts.uidMappings":
      "both kinds or neither; needs a file system with idmapped mounts, such as ext4 or xfs; mounts below on other file systems keep their ids. Not with BIDIRECTIONAL; without them, images as volumes have the pod's",
    "mounts.gidMappings": "see uidMappings",
    "mounts.selinux_relabel":
      "if the kernel has SELinux, the source and everything below it get the container's label; the machine's own directories are refused",
    "mounts.propagation": "HOST_TO_CONTAINER needs a shared or slave mount, BIDIRECTIONAL a shared one",
    "mounts.image.image": "an image on this node, read-only; it cannot be removed while it is mounted",
    "mounts.image_sub_path": "a directory or file in it; links do not lead outside",
    devices: "device nodes, or directories of them, with the permissions r, w and m",
    log_path: "relative to the pod's log_directory; must stay inside it",
    stdin_once: "needs stdin",
    "linux.resources.cpu_shares": "the kernel accepts 2 to 262144",
    "linux.resources.memory_swap_limit_in_bytes": "memory and swap together; 0 means the memory limit",
    "linux.resources.oom_score_adj": "raised to the lowest that keelsond may set; its log says so",
    "linux.resources.hugepage_limits": "for sizes that the machine has; 0 for other sizes is ignored",
    "linux.resources.unified": "files of cgroup v2; InvalidArgument on v1",
    "linux.security_context.capabilities":
      "with or without CAP_; ALL is applied first, then added ones, then dropped ones; one that keelsond itself lacks is FailedPrecondition",
    "linux.security_context.capabilities.add_ambient_capabilities":
      "set in all five sets, so that users other than root have them (containerd and CRI-O clear them)",
    "linux.security_context.privileged":
      "only in a privileged pod: all capabilities and devices, no seccomp, AppArmor or SELinux, nothing masked, /sys and cgroups writable",
    "linux.security_context.namespace_options.network": "the same as the pod's; NODE only if the pod has NODE",
    "linux.security_context.namespace_options.ipc": "the same as the pod's; NODE only if the pod has NODE",
    "linux.security_context.namespace_options.pid": "POD, CONTAINER, TARGET, or NODE if the pod has NODE",
    "linux.security_context.namespace_options.target_id": "a running container of the same pod",
    "linux.security_context.namespace_options.userns_options": "the same as the pod's, or none",
    "linux.security_context.selinux_options": "override the pod's",
    "linux.security_context.run_as_group": "needs run_as_user or run_as_username",
    "linux.security_context.run_as_username": "looked up in the image's own /etc/passwd; not together with run_as_user",
    "linux.security_context.run_as_user": "when not set, the image's USER, in any of its four forms",
    "linux.security_context.supplemental_groups_policy":
      "Merge adds the user's groups from the image's /etc/group, Strict does not",
    "linux.security_context.masked_paths":
      "an empty list means none, as a kubelet sends it for ProcMount Unmasked; without a security context, Kubernetes' defaults",
    "linux.security_context.readonly_paths": "see masked_paths",
    "linux.security_context.seccomp":
      "overrides seccomp_profile_path; when not set, no profile; RuntimeDefault is keelsond's own profile, Localhost a file on the node",
    "linux.security_context.apparmor":
      "overrides apparmor_profile; when not set, the default profile; a Localhost profile must be loaded; without AppArmor in the kernel the default profile is left out, and a named one is FailedPrecondition",
    "linux.security_context.seccomp_profile_path": "runtime/default, docker/default, unconfined, localhost/PATH",
    "linux.security_context.apparmor_profile": "runtime/default, unconfined, localhost/NAME",
    CDI_devices: "from the specifications in `[cdi] spec_dirs`; also requested by annotations `cdi.k8s.io/…`",
    stop_signal: "when not set, the image's, then SIGTERM; the status shows it",
  },
  UpdateContainerResourcesRequest: {
    container_id: "of a created or running container; may be shortened",
    linux:
      "fields that are set change, fields that are 0 or empty stay; a memory limit below the memory in use is refused",
  },
};

/** The text of docs/cri.md. `answered` are the calls that the daemon answers. */
export function criDoc(answered: ReadonlySet<string>): string {
  return `# How keelsond treats the CRI

Every call of the Container Runtime Interface v1, and every field of the messages that create and change pods and containers.
Generated from the protocol and the daemon's own tables by a test, which fails when this file is out of date. To regenerate it:
\`${regenerate}\`

- **honoured**: the value takes effect. A value that makes no sense, or that this machine or its OCI runtime cannot provide,
  is an error that begins with the field's name: InvalidArgument, or FailedPrecondition if the machine is the reason.
- **hint**: the field may be set, and nothing needs to be done for it; the note says why.
- **not on Linux**: any value is InvalidArgument.

## Calls

${callTable(answered)}

## RunPodSandbox

\`runtime_handler\` is honoured: "" is the default handler, another name one of \`[runtimes]\`. \`config\` is a PodSandboxConfig:

${fieldTable("PodSandboxConfig")}

## CreateContainer

\`pod_sandbox_id\` is honoured; \`sandbox_config\` is a hint: the pod has the config that it was created with. \`config\` is a ContainerConfig:

${fieldTable("ContainerConfig")}

## UpdateContainerResources

${fieldTable("UpdateContainerResourcesRequest")}
`;
}

/** The paths that have notes, for the test that compares them with the protocol. */
export function notedPaths(type: ConfigType): string[] {
  return Object.keys(notes[type]);
}

/** The paths of all fields that hold a value, which are those that are not messages. */
export function leavesOf(message: string, path = ""): string[] {
  return fieldsOf(message).flatMap((field) => {
    const own = path === "" ? field.name : `${path}.${field.name}`;
    return field.kind === "message" ? leavesOf(field.of!, own) : [own];
  });
}

function callTable(answered: ReadonlySet<string>): string {
  const rows = callNames.map((name) => {
    return `| ${name.charAt(0).toUpperCase()}${name.slice(1)} | ${answered.has(name) ? "answered" : "not yet: Unimplemented"} |`;
  });
  return ["| call | |", "| --- | --- |", ...rows].join("\n");
}

function fieldTable(type: ConfigType): string {
  return ["| field | state | |", "| --- | --- | --- |", ...rowsOf(type, new Map(), type, "")].join("\n");
}

/**
 * A row for each field; a single one for a message that is not on Linux as a whole.
 *
 * @param seen the path of the first row with each note: further rows refer to it.
 */
function rowsOf(type: ConfigType, seen: Map<string, string>, message: string, parent: string): string[] {
  return fieldsOf(message).flatMap((field) => {
    const path = parent === "" ? field.name : `${parent}.${field.name}`;
    const state = fieldState(type, path);
    if (field.kind === "message" && state?.is !== "windows") return rowsOf(type, seen, field.of!, path);
    const note = state !== undefined && "why" in state ? state.why : noteOf(type, path);
    const first = seen.get(note);
    if (first === undefined) seen.set(note, path);
    const name = `\`${path}\`${field.deprecated === true ? " (deprecated)" : ""}`;
    return [`| ${name} | ${stateName(state)} | ${note === "" || first === undefined ? note : `see \`${first}\``} |`];
  });
}

function stateName(state: FieldState | undefined): string {
  switch (state?.is) {
    case "honoured":
    case "hint":
      return state.is;
    case "windows":
      return "not on Linux";
    case undefined:
      throw new Error("a field without a state");
  }
}

/** The note of the path itself, or of the nearest one above it. */
function noteOf(type: ConfigType, path: string): string {
  const parts = path.split(".");
  for (let length = parts.length; length > 0; length -= 1) {
    const note = notes[type][parts.slice(0, length).join(".")];
    if (note !== undefined) return note;
  }
  return "";
}
