/** Why a test of behaviour that every runtime has is not for gVisor. */
export type Reason = string;

const noHostPid = "reads /proc of the container's first process, which is gVisor's and not one of the machine";
const noSeccomp =
  "gVisor takes no seccomp profiles unless runsc is given --oci-seccomp, and with that one of 2024 starts no thread under the default one";
const noStatusFields = "gVisor's /proc/PID/status has no such field";
const noRawSockets = "gVisor leaves CAP_NET_RAW out unless runsc is given --net-raw";
const ownDevices = "gVisor has a /dev of its own, and device cgroups do not reach into it";
const oneKernel = "a single container has no limits in gVisor: those of the pod's cgroup hold for all of the sandbox";

/**
 * What of the tests with each runtime is not for gVisor, by file, as a whole or by the test's name. Everything else is run
 * with runsc too.
 */
export const gvisorExceptions: Readonly<Record<string, Reason | Readonly<Record<string, Reason>>>> = {
  "containers/devices.host.test.ts": {
    "a container gets what the device's specification says": ownDevices,
    "a device has the permissions that are asked for, under the name that is asked for": ownDevices,
    "limits that the configuration has for every container are there": noHostPid,
    "classes of block I/O come by annotation; one that is not defined, and RDT without resctrl, are refused by name":
      oneKernel,
    "a privileged container has the host's devices, or by its handler only their use, or neither": ownDevices,
  },
  "containers/identity.host.test.ts": {
    "keeps ambient capabilities as a user who is not root, in its process and in an exec":
      "gVisor of 2024 has no ambient capabilities",
    "has no inheritable, ambient or effective capabilities as a user who is not root, unless they are ambient":
      noStatusFields,
    "with empty lists of paths sees and writes all of /proc, as ProcMount Unmasked wants":
      "gVisor's /proc is its own, with next to nothing to write",
    "that is privileged may make cgroups, another may not":
      "gVisor's cgroups are its own: a container that makes one changes nothing of the machine",
    "is confined by the deprecated fields of seccomp, unless the new one says otherwise": noSeccomp,
  },
  "containers/mounts.host.test.ts": {
    "are sockets, device nodes and file systems of the host too": "gVisor does not name the types of file systems",
    "of a thousand directories are all there": "gVisor takes some 250 mounts: each is a file descriptor in one message",
    "show later mounts of the host, of the container, or neither, as propagation says":
      "gVisor passes no mounts on, and refuses a propagation that would",
    "hold what the image has there, with owners, modes, links and nodes, and can be written":
      "reads in mountinfo where mounts come from, which gVisor does not tell",
    "give way to the mounts of the config at or above them":
      "reads in mountinfo where mounts come from, which gVisor does not tell",
  },
  "containers/resources.host.test.ts": oneKernel,
  "containers/security.host.test.ts": {
    "has the default capabilities, or those that are added and dropped": noRawSockets,
    "cannot change the network without NET_ADMIN": "gVisor's own network stack can hardly be changed with it either",
    "is confined by seccomp as asked": noSeccomp,
    "gains no privileges when it must not": noStatusFields,
    "cannot write to a read-only root, but to what is mounted": "gVisor mounts a tmpfs of its own over an empty /tmp",
    "does not see masked paths and cannot write read-only ones": "gVisor mounts a tmpfs of its own over an empty /tmp",
    "that is privileged may do everything and sees the devices": noRawSockets,
    "has a terminal when it asks for one": "a terminal that comes from the machine has no name in gVisor's /dev",
  },
  "crash/every-step.host.test.ts":
    "its steps are the same for all pods that are containers, which crun plays there in a fraction of the time; gvisor.host.test.ts kills the daemon",
  "containers/exec-sync.host.test.ts": {
    "runs where the container runs: environment, directory, cgroup, namespaces": noHostPid,
  },
  "containers/failed-start.host.test.ts": {
    "is shown by its verbose status with pid, config and runtime spec, and its pod likewise": noHostPid,
  },
  "containers/lifecycle.host.test.ts": {
    "process 1 is not ended by its own signals with runsc": "in gVisor process 1 of a PID namespace can kill itself",
    "a container that uses more memory than it may has OOMKilled with runsc": oneKernel,
  },
  "pods/environment.host.test.ts": {
    "has its hostname, hosts file and resolver settings with runsc": `pings: ${noRawSockets}; gvisor.host.test.ts looks at the hostname`,
    "has a /dev/shm of 64 MiB that its containers share, with runsc":
      "gVisor shows the pod's /dev/shm, which is a tmpfs of the machine, as 9p",
    "shares its network, IPC and UTS namespaces, and gives each container a PID namespace, with runsc": noHostPid,
    "that shares its PID namespace shows the processes of all containers to each, and reaps, with runsc":
      "in gVisor a container can kill process 1 of the namespace that it shares",
    "in the namespaces of the host sees the host, with runsc": noHostPid,
    "puts its containers where cgroup_parent says: ${spelling}": noHostPid,
  },
  "crash/restart.host.test.ts": {
    "is missed when it dies, also while the daemon is down, with runsc":
      "a sandbox has no init of a shared PID namespace beside it; gvisor.host.test.ts kills the sandbox",
  },
  "containers/seccomp.host.test.ts": noSeccomp,
  "containers/stop.host.test.ts": {
    "ends a container that is stopped by SIGSTOP": noHostPid,
  },
  "streams/exec.host.test.ts": {
    "has a terminal of the size that the client says, from the first byte on, and follows it":
      "a terminal that comes from the machine has no name in gVisor's /dev; gvisor.host.test.ts tests the rest",
    "a client that vanishes takes the command with it, whole":
      "looks for its processes on the machine; gvisor.host.test.ts looks for them inside",
    "is no safer from the OOM killer than its container, with ExecSync and with a terminal too": noHostPid,
  },
  "hostile/pod-init.host.test.ts":
    "a pod in gVisor has an init of gVisor's own; the file looks at what stands in for its containers by itself",
  "node/systemd.host.test.ts":
    "looks for limits of single containers; the machine with systemd that it is for has no gVisor",
  "pods/user-namespace.host.test.ts":
    "gVisor has no user namespaces of the pod's: its handler says so, and the pod is refused",
};
