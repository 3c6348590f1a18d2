/** What `keelsond config default` prints: every key, commented out, with its default. */
export const defaultConfigFile = `# Configuration of keelsond. Every key is optional and shown with its default.
# Check a file with \`keelsond config check FILE\`. An unknown key is an error.

# Images, writable layers and the state database. Each root has one daemon.
# root = "/var/lib/keelson"

# State that ends with the boot: namespaces, bundles, sockets.
# state = "/run/keelson"

# Where the CRI is served, mode 0660.
# socket = "unix:///run/keelson/keelson.sock"

# The handler of pods that name none. By default crun or, if that is not installed, runc.
# default_runtime = "crun"

# "cgroupfs" or "systemd"; the kubelet adopts it. By default systemd if that runs.
# cgroup_driver = "systemd"

# The container monitor: a path, or a name to look up in PATH.
# conmon = "conmon"

[log]
# debug (a line for each call), info, warn or error.
# level = "info"

# A runtime handler, chosen by a RuntimeClass; docs/runtimes.md has examples. crun, runc and runsc need no
# section if they are installed; a section of the same name replaces the built-in one. Its keys:
# [runtimes.crun]
# type = "oci"                  # or "shim": one of containerd's shims, such as path = "io.containerd.runc.v2"
# path = "crun"                 # a path, or a name to look up in PATH
# root = "/run/keelson/runtimes/crun"
# args = []                     # "oci": before the runtime's command; runsc has "--platform=systrap", "--overlay2=none"
# monitor = "conmon"            # "oci": overrides the key conmon for this handler
# options = {}                  # "shim": its options, e.g. { BinaryName = "crun" } or { ConfigPath = "/…" }
# sandbox = "none"              # "container" if each pod is one itself: the default for runsc and shims except runc's
# pod_annotations = []          # annotations of pods that the runtime may see, such as "io.katacontainers.*"
# container_annotations = []    # ... and annotations of containers
# privileged_without_host_devices = false
# privileged_without_host_devices_all_devices_allowed = false   # ... but they may create and use any device
# base_spec = "/etc/keelson/base-spec.json"   # an OCI runtime spec for what a container's own leaves out
# cni_conf_dir = "/etc/cni/net.d"             # the network of its pods
# overhead = { cpu = "250m", memory = "160Mi" }   # what its pods need besides their containers; for the RuntimeClass
# features = { user_namespaces = false, recursive_read_only_mounts = false }   # if the runtime itself cannot say;
#              host_network, host_pid and host_devices: what its pods may have of the node

[registry]
# Directories with HOST/hosts.toml, as in containerd; the first one that has the host counts.
# config_path = "/etc/keelson/certs.d:/etc/containerd/certs.d"

[images]
# Keep the compressed layers after unpacking.
# keep_layers = false
# How many layers are downloaded at once, in all pulls together.
# max_parallel_downloads = 6
# Limits of a layer; beyond them a pull fails with ResourceExhausted. Bytes of the unpacked archive:
# max_layer_bytes = 68719476736
# How many times its compressed size it may unpack to; applies to layers that unpack to more than 256 MiB.
# max_layer_ratio = 200
# Files, directories and links in it.
# max_layer_entries = 5000000
# Bytes of a path in it.
# max_path_bytes = 4095
# References that garbage collection must spare.
# pinned = []

[pods]
# Capacity of a pod's /dev/shm in bytes. Its content counts towards the pod's memory limits.
# shm_size_bytes = 67108864
# Whether a pod may choose another size by the annotation io.kubernetes.cri-o.ShmSize ("1Gi").
# shm_size_annotation = false
# Whether ports below 1024, and ping, need no capability in a pod's own network; pods may set the sysctls themselves.
# unprivileged_ports = true
# unprivileged_ping = true

[containers]
# A mount whose host_path does not exist: true makes a directory, on which kubeadm's static pods and hostPath volumes
# without a type rely; false is an error that names it, as the CRI has it.
# create_missing_mount_sources = true
# Where none is made all the same: at these paths and below them, such as where a disk may not be mounted yet.
# missing_mount_sources_to_refuse = []
# Volumes that an image declares: "bind" gives each container its own directory with the image's content,
# which is removed with the container; "ignore" leaves them in the writable layer.
# image_volumes = "bind"
# Give the devices that a container asks for to its run_as_user and run_as_group, so that it can use them without root.
# device_ownership_from_security_context = false
# Limit of processes and threads of each container; 0 means only the pod's limit.
# pids_limit = 0
# Resource limits of containers' processes (getrlimit(2)), NAME=SOFT:HARD; those not listed are keelsond's own.
# default_ulimits = []
# Classes of block I/O and of RDT that annotations ask for; see docs/operating.md. Read when a container asks.
# blockio_config_file = "/etc/keelson/blockio.yaml"
# rdt_config_file = "/etc/keelson/rdt.yaml"

[cdi]
# Directories of Container Device Interface specifications (*.json, *.yaml), read when a container asks for a device; a
# later one takes precedence.
# spec_dirs = ["/etc/cdi", "/var/run/cdi"]

[cni]
# The first list in lexical order is the pods' network; changes take effect at once.
# conf_dir = "/etc/cni/net.d"
# bin_dirs = ["/opt/cni/bin", "/usr/lib/cni"]
# Results of ADD, kept for DEL; default ROOT/cni.
# cache_dir = "/var/lib/keelson/cni"

[security]
# Whether to refuse runtimes, monitors and CNI plugins that have published flaws (docs/security.md). Pods that run go on.
# refuse_known_vulnerable = false

[metrics]
# Where keelsond serves its own metrics for Prometheus, at /metrics; by default nowhere. There is no password:
# use the loopback, or a network that you trust.
# address = "127.0.0.1:9479"

[streaming]
# Where exec, attach and port-forward are served. The kubelet forwards its clients, so the loopback is
# enough; each URL is valid for one minute and one client.
# address = "127.0.0.1"
# 0: any free port.
# port = 0
# With both, TLS 1.2 or newer is used; renewed files take effect without a restart.
# tls_cert_file = "/etc/keelson/streaming.crt"
# tls_key_file = "/etc/keelson/streaming.key"
# Seconds without a byte after which a stream is closed.
# idle_timeout = 14400
# Seconds that a client may take to open its streams.
# creation_timeout = 30

[tracing]
# An OpenTelemetry collector that accepts OTLP over HTTP; by default none. Calls and their stages are
# sent as spans, as children of the kubelet's if it traces too.
# endpoint = "http://127.0.0.1:4318"

[timeouts]
# Seconds that starting a pod or creating a container may take.
# create = 240
# Seconds that stopping a pod, or removing a pod or container, may take, without the time that containers take to
# end.
# stop = 240
# Seconds that cleaning up after a failed call may take.
# cleanup = 60
`;
