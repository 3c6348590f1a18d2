import { fieldsOf } from "@keelson/cri/json.ts";
import { callNames } from "@keelson/cri/service.ts";
import { type ConfigType, type FieldState, fieldState } from "@keelson/plan/refused-fields.ts";

/** How docs/cri.md is made anew. */
export const regenerate = "KEELSON_WRITE_DOCS=1 bin/node --test packages/daemon/src/cri-doc.test.ts";

/** What is worth knowing of a field beside its state; a path stands for everything below it. */
const notes: Readonly<Record<ConfigType, Readonly<Record<string, string>>>> = {
  PodSandboxConfig: {
    metadata: "name, namespace and uid are needed; together with the attempt they are unique among pods",
    hostname: "the machine's own when empty; checked as hostname(7) has it",
    log_directory: "absolute; made when it is not there",
    dns_config: "becomes /etc/resolv.conf; a copy of the host's without it",
    port_mappings: "given to the CNI plugins; ignored in the host's network",
    annotations:
      "1 MiB together with the labels; `io.kubernetes.cri-o.ShmSize` sets the size of /dev/shm where `shm_size_annotation` in `[pods]` allows it",
    "linux.cgroup_parent": "a path for cgroupfs, a slice for systemd, as RuntimeConfig tells the driver",
    "linux.security_context.namespace_options.network": "POD or NODE",
    "linux.security_context.namespace_options.pid": "POD, CONTAINER or NODE",
    "linux.security_context.namespace_options.ipc": "POD or NODE",
    "linux.security_context.namespace_options.target_id": "only for containers: InvalidArgument",
    "linux.security_context.namespace_options.userns_options":
      "POD with one mapping of uids and one of gids from container_id 0, on Linux 5.19 with a file system that can (see operating.md); then pid and ipc are the pod's own. NODE, and nothing at all, is the host's",
    "linux.security_context.selinux_options":
      "checked always; enforced where the kernel has SELinux, with two categories of the pod's own where no level is given; left out elsewhere, as a manifest is written for the whole cluster",
    "linux.security_context.privileged": "allows privileged containers in the pod",
    "linux.sysctls":
      "those of the pod's own network and IPC namespaces; net.ipv4.ip_unprivileged_port_start=0 and net.ipv4.ping_group_range=0 2147483647 are set unless `unprivileged_ports` and `unprivileged_ping` in `[pods]` of the configuration are false",
  },
  ContainerConfig: {
    metadata: "the name is needed; with the attempt it is unique in its pod",
    "image.image": "an image that is here, by id, tag or digest",
    "image.user_specified_image": "what the status shows",
    command: "in the place of the image's Entrypoint and Cmd; one of them is needed",
    args: "in the place of the image's Cmd",
    working_dir: "absolute; made when it is not there; the image's, else /, when empty",
    envs: "over the image's; of several with one name the last counts; values may have newlines and equals signs, and must be UTF-8 without NUL",
    "mounts.host_path": "links are followed; must be there, unless `create_missing_mount_sources` in `[containers]`",
    "mounts.readonly": "of the mount itself; see recursive_read_only for what is mounted below it",
    "mounts.recursive_read_only": "needs readonly and PROPAGATION_PRIVATE, and Linux 5.12; with every runtime",
    "mounts.uidMappings":
      "both kinds or none; needs a file system with idmapped mounts, such as ext4 or xfs; what is mounted below keeps its ids where it has none. Not with BIDIRECTIONAL; images as volumes have the pod's when there are none",
    "mounts.gidMappings": "as uidMappings",
    "mounts.selinux_relabel":
      "the source and all below it get the container's label where the kernel has SELinux; the machine's own directories are refused",
    "mounts.propagation": "HOST_TO_CONTAINER needs a shared or slave mount, BIDIRECTIONAL a shared one",
    "mounts.image.image": "an image that is here, read-only; it cannot be removed while it is mounted",
    "mounts.image_sub_path": "a directory or file in it; links lead nowhere else",
    devices: "device nodes, or directories of them, with r, w and m",
    log_path: "relative to the pod's log_directory, and stays in it",
    stdin_once: "needs stdin",
    "linux.resources.cpu_shares": "what the kernel takes: 2 to 262144",
    "linux.resources.memory_swap_limit_in_bytes": "memory and swap together; the memory limit when 0",
    "linux.resources.oom_score_adj": "raised to what keelsond may give, when that is higher; its log says so",
    "linux.resources.hugepage_limits": "of sizes that the machine has; 0 for others is passed over",
    "linux.resources.unified": "files of cgroup v2; InvalidArgument on v1",
    "linux.security_context.capabilities":
      "with or without CAP_; ALL first, then what is added, then what is dropped; one that keelsond itself lacks is FailedPrecondition",
    "linux.security_context.capabilities.add_ambient_capabilities":
      "in all five sets, so that users other than root have them (containerd and CRI-O clear them)",
    "linux.security_context.privileged":
      "only in a pod that is privileged: all capabilities and devices, no seccomp, AppArmor or SELinux, nothing masked, /sys and cgroups writable",
    "linux.security_context.namespace_options.network": "as the pod has it; NODE only where the pod has NODE",
    "linux.security_context.namespace_options.ipc": "as the pod has it; NODE only where the pod has NODE",
    "linux.security_context.namespace_options.pid": "POD, CONTAINER, NODE where the pod has NODE, or TARGET",
    "linux.security_context.namespace_options.target_id": "a running container of the same pod",
    "linux.security_context.namespace_options.userns_options": "what the pod's say, or nothing",
    "linux.security_context.selinux_options": "over the pod's",
    "linux.security_context.run_as_group": "needs run_as_user or run_as_username",
    "linux.security_context.run_as_username": "looked up in the image's own /etc/passwd; not together with run_as_user",
    "linux.security_context.run_as_user": "the image's USER when not set, in any of its four forms",
    "linux.security_context.supplemental_groups_policy":
      "Merge adds the groups that the image's /etc/group has the user in, Strict does not",
    "linux.security_context.masked_paths":
      "an empty list means none, which is how a kubelet says ProcMount Unmasked; without a security context Kubernetes' defaults",
    "linux.security_context.readonly_paths": "as masked_paths",
    "linux.security_context.seccomp":
      "over seccomp_profile_path; not set is none; RuntimeDefault is a table of ours, Localhost a file on the node",
    "linux.security_context.apparmor":
      "over apparmor_profile; not set is the default profile; Localhost must be loaded; without AppArmor in the kernel a default asks for nothing and a profile by name is FailedPrecondition",
    "linux.security_context.seccomp_profile_path": "runtime/default, docker/default, unconfined, localhost/PATH",
    "linux.security_context.apparmor_profile": "runtime/default, unconfined, localhost/NAME",
    CDI_devices: "of the specifications in `[cdi] spec_dirs`; also by annotations `cdi.k8s.io/…`",
    stop_signal: "then the image's, then SIGTERM; told in the status",
  },
  UpdateContainerResourcesRequest: {
    container_id: "of a created or running container; a prefix will do",
    linux: "what is set is changed, what is 0 or empty stays; a memory limit below what is in use is refused",
  },
};

/** The text of docs/cri.md. @param answered the calls that the daemon answers */
export function criDoc(answered: ReadonlySet<string>): string {
  return `# What keelsond makes of the CRI

Every call of the Container Runtime Interface v1, and every field of the messages that make and change pods and containers.
Made from the protocol and from the daemon's own tables by a test, which fails when this file is not up to date:
\`${regenerate}\`

- **honoured**: what it says is done. A value that makes no sense, or that this machine or its OCI runtime cannot do, is an
  error that begins with the field's name: InvalidArgument, or FailedPrecondition for what lies with the machine.
- **hint**: it may be set, and there is nothing to be done for it; the note says why.
- **not on Linux**: any value is InvalidArgument.

## Calls

${callTable(answered)}

## RunPodSandbox

\`runtime_handler\` is honoured: "" is the default handler, another name one of \`[runtimes]\`. \`config\` is a PodSandboxConfig:

${fieldTable("PodSandboxConfig")}

## CreateContainer

\`pod_sandbox_id\` is honoured; \`sandbox_config\` is a hint, as the pod was made by its own. \`config\` is a ContainerConfig:

${fieldTable("ContainerConfig")}

## UpdateContainerResources

${fieldTable("UpdateContainerResourcesRequest")}
`;
}

/** The paths that `notes` has, for the test that compares them with the protocol. */
export function notedPaths(type: ConfigType): string[] {
  return Object.keys(notes[type]);
}

/** Every field by its path, but messages of messages: those that hold a value. */
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
 * A row for each field; one for a whole message where all below it is not on Linux.
 *
 * @param told each note and reason by the path of the row that has it: further rows refer to it
 */
function rowsOf(type: ConfigType, told: Map<string, string>, message: string, parent: string): string[] {
  return fieldsOf(message).flatMap((field) => {
    const path = parent === "" ? field.name : `${parent}.${field.name}`;
    const state = fieldState(type, path);
    if (field.kind === "message" && state?.is !== "windows") return rowsOf(type, told, field.of!, path);
    const note = state !== undefined && "why" in state ? state.why : noteOf(type, path);
    const first = told.get(note);
    if (first === undefined) told.set(note, path);
    const name = `\`${path}\`${field.deprecated === true ? " (deprecated)" : ""}`;
    return [`| ${name} | ${stateName(state)} | ${note === "" || first === undefined ? note : `as \`${first}\``} |`];
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

/** That of the path itself, or of the nearest above it. */
function noteOf(type: ConfigType, path: string): string {
  const parts = path.split(".");
  for (let length = parts.length; length > 0; length -= 1) {
    const note = notes[type][parts.slice(0, length).join(".")];
    if (note !== undefined) return note;
  }
  return "";
}
