/** What `keelsond config default` prints: every key, commented out, with its default. */
export const defaultConfigFile = `# Configuration of keelsond. Every key is optional; what is shown is the default.
# Check a file with \`keelsond config check FILE\`. An unknown key is an error.

# Images, writable layers and the state database. One daemon for each root.
# root = "/var/lib/keelson"

# What lives until the next boot: namespaces, bundles, sockets.
# state = "/run/keelson"

# Where the CRI is served, mode 0660.
# socket = "unix:///run/keelson/keelson.sock"

# The handler of pods that name none: by default the first of crun, runc that is installed.
# default_runtime = "crun"

# "cgroupfs" or "systemd": told to the kubelet, which obeys. By default systemd where it runs.
# cgroup_driver = "systemd"

# The container monitor: a path, or a name that is looked up in PATH.
# conmon = "conmon"

[log]
# debug (a line for each call), info, warn or error.
# level = "info"

# A runtime handler, chosen by a RuntimeClass; docs/runtimes.md has examples. crun, runc and runsc are there without
# a section when they are installed; a section of the same name replaces the built-in one. Its keys:
# [runtimes.crun]
# type = "oci"                  # or "shim": one of containerd's shims, such as path = "io.containerd.runc.v2"
# path = "crun"                 # a path, or a name that is looked up in PATH
# root = "/run/keelson/runtimes/crun"
# args = []                     # "oci": before the runtime's command; runsc has "--platform=systrap", "--overlay2=none"
# monitor = "conmon"            # "oci": the key conmon, for this handler
# options = {}                  # "shim": what it is told, e.g. { BinaryName = "crun" } or { ConfigPath = "/…" }
# sandbox = "none"              # "container" where each pod is one by itself: the default for runsc, and for shims but runc's
# pod_annotations = []          # which annotations of pods the runtime gets to see, such as "io.katacontainers.*"
# container_annotations = []    # ... and which of containers
# privileged_without_host_devices = false
# privileged_without_host_devices_all_devices_allowed = false   # ... but mknod of any device, and its use
# base_spec = "/etc/keelson/base-spec.json"   # an OCI runtime spec with what a container's own does not say
# cni_conf_dir = "/etc/cni/net.d"             # the network of its pods
# overhead = { cpu = "250m", memory = "160Mi" }   # what its pods need beside their containers; for the RuntimeClass
# features = { user_namespaces = false, recursive_read_only_mounts = false }   # of a runtime that cannot be asked

[registry]
# Directories with HOST/hosts.toml, as containerd has them; the first that has the host counts.
# config_path = "/etc/keelson/certs.d:/etc/containerd/certs.d"

[images]
# Keep the compressed layers after unpacking.
# keep_layers = false
# How many layers of all pulls together are downloaded at once.
# max_parallel_downloads = 6
# What a layer may come to; a pull of more ends with ResourceExhausted. Bytes of the unpacked archive:
# max_layer_bytes = 68719476736
# How many times its compressed size it may unpack to; counts for layers that unpack to over 256 MiB.
# max_layer_ratio = 200
# Files, directories and links in it.
# max_layer_entries = 5000000
# Bytes of a name in it, with its directories.
# max_path_bytes = 4095
# References that garbage collection must spare.
# pinned = []

[pods]
# Bytes that a pod's /dev/shm may hold. What is in it counts for the memory limits of the pod.
# shm_size_bytes = 67108864
# Whether a pod may choose another size by the annotation io.kubernetes.cri-o.ShmSize ("1Gi").
# shm_size_annotation = false
# Whether ports below 1024, and ping, need no capability in a pod's own network; pods may set the sysctls themselves.
# unprivileged_ports = true
# unprivileged_ping = true

[containers]
# A mount whose host_path is not there: false is an error that names it, true makes a directory, as
# containerd and CRI-O do. kubeadm's static pods and hostPath volumes without a type count on true.
# create_missing_mount_sources = false
# Volumes that an image declares: "bind" gives each container a directory of its own with what the
# image has there, removed with the container; "ignore" leaves them in the writable layer.
# image_volumes = "bind"
# Give devices that a container asks for to its run_as_user and run_as_group, so that it need not be root to use them.
# device_ownership_from_security_context = false
# Processes and threads of each container; 0 is no limit but the pod's.
# pids_limit = 0
# Limits of containers' processes as getrlimit(2) names them, NAME=SOFT:HARD; those not named are keelsond's own.
# default_ulimits = []
# Classes of block I/O and of RDT that annotations ask for; see docs/operating.md. Read when a container asks.
# blockio_config_file = "/etc/keelson/blockio.yaml"
# rdt_config_file = "/etc/keelson/rdt.yaml"

[cdi]
# Directories of Container Device Interface specifications (*.json, *.yaml), read when a container asks for a device; a
# later one wins.
# spec_dirs = ["/etc/cdi", "/var/run/cdi"]

[cni]
# The first list in lexical order is the pods' network; changes are seen at once.
# conf_dir = "/etc/cni/net.d"
# bin_dirs = ["/opt/cni/bin", "/usr/lib/cni"]
# Results of ADD, kept for DEL; default ROOT/cni.
# cache_dir = "/var/lib/keelson/cni"

[metrics]
# Where Prometheus finds keelsond's own numbers, at /metrics; by default nowhere. There is no password:
# keep it to the loopback, or to a network that you trust.
# address = "127.0.0.1:9479"

[streaming]
# Where exec, attach and port-forward are served. The kubelet passes its clients on to here, so the
# loopback will do; the URL of each is good for a minute and one client.
# address = "127.0.0.1"
# 0: any port that is free.
# port = 0
# With both it is TLS, 1.2 at least; renewed files are taken up without a restart.
# tls_cert_file = "/etc/keelson/streaming.crt"
# tls_key_file = "/etc/keelson/streaming.key"
# Seconds without a byte after which a stream is closed.
# idle_timeout = 14400
# Seconds that a client may take to open its streams.
# creation_timeout = 30

[tracing]
# An OpenTelemetry collector that takes OTLP over HTTP; by default none. Calls and their stages are
# sent as spans, below those of the kubelet where it traces too.
# endpoint = "http://127.0.0.1:4318"

[timeouts]
# Seconds that a pod may take to come up, or a container to be created.
# create = 240
# Seconds that stopping a pod may take, or removing it or a container, beside what is waited for its containers' ends.
# stop = 240
# Seconds that taking down what a failed call left may take.
# cleanup = 60
`;
