import { isIP, isIPv6 } from "node:net";
import { parseRlimit } from "@keelson/plan/rlimits.ts";
import { absolutePath } from "@keelson/runtimes/config-values.ts";
import { handlerSection } from "@keelson/runtimes/handler-section.ts";
import * as v from "valibot";

const positiveInteger = v.pipe(v.number(), v.integer(), v.minValue(1));

/** `unix:///path`, or the path alone; the kernel accepts paths of up to 107 bytes (unix(7)). */
const socketAddress = v.pipe(
  v.string(),
  v.transform((text) => (text.startsWith("/") ? `unix://${text}` : text)),
  v.regex(/^unix:\/\/\/[^\0]+$/, "must be unix:///path or an absolute path"),
  v.check((s) => Buffer.byteLength(s) - "unix://".length <= 107, "must have a path of at most 107 bytes"),
);

/** `HOST:PORT` with an IP address, such as `127.0.0.1:9479` or `[::1]:9479`; parsed to an object. */
const listenAddress = v.pipe(
  v.string(),
  v.transform((text) => parseListenAddress(text)),
  v.check((address) => address !== undefined, "must be an IP address and a port, such as 127.0.0.1:9479 or [::1]:9479"),
  v.transform((address) => address!),
);

/** A handler's name is a RuntimeClass handler: a DNS label (KEP-585). */
const handlerName = v.pipe(v.string(), v.regex(/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/, "must be a DNS label"));

const rlimit = v.pipe(
  v.string(),
  v.check((text) => parseRlimit(text) !== undefined, "must be NAME=SOFT:HARD such as nofile=1024:524288"),
  v.transform((text) => parseRlimit(text)!),
);

/** keelsond's configuration file, with its defaults. Unknown keys are errors. */
export const configSchema = v.strictObject({
  root: v.optional(absolutePath, "/var/lib/keelson"),
  state: v.optional(absolutePath, "/run/keelson"),
  socket: v.optional(socketAddress, "unix:///run/keelson/keelson.sock"),
  default_runtime: v.optional(handlerName),
  cgroup_driver: v.optional(v.picklist(["cgroupfs", "systemd"])),
  conmon: v.optional(v.pipe(v.string(), v.nonEmpty()), "conmon"),
  log: v.optional(
    v.strictObject({
      level: v.optional(v.picklist(["debug", "info", "warn", "error"]), "info"),
    }),
    {},
  ),
  runtimes: v.optional(v.record(handlerName, handlerSection), {}),
  registry: v.optional(
    v.strictObject({
      config_path: v.optional(v.string(), "/etc/keelson/certs.d:/etc/containerd/certs.d"),
    }),
    {},
  ),
  images: v.optional(
    v.strictObject({
      keep_layers: v.optional(v.boolean(), false),
      max_parallel_downloads: v.optional(v.pipe(positiveInteger, v.maxValue(64)), 6),
      /** How large one layer may be, so that a small download cannot fill the disk. */
      max_layer_bytes: v.optional(positiveInteger, 64 * 1024 ** 3),
      max_layer_ratio: v.optional(positiveInteger, 200),
      max_layer_entries: v.optional(positiveInteger, 5_000_000),
      /** At most Linux's PATH_MAX. */
      max_path_bytes: v.optional(v.pipe(positiveInteger, v.maxValue(4095)), 4095),
      pinned: v.optional(v.array(v.string()), []),
    }),
    {},
  ),
  pods: v.optional(
    v.strictObject({
      /** Capacity of a pod's /dev/shm. */
      shm_size_bytes: v.optional(positiveInteger, 64 * 1024 ** 2),
      /** Whether a pod may choose that by an annotation. */
      shm_size_annotation: v.optional(v.boolean(), false),
      /** net.ipv4.ip_unprivileged_port_start=0 and net.ipv4.ping_group_range=0 2147483647 in pods' own networks. */
      unprivileged_ports: v.optional(v.boolean(), true),
      unprivileged_ping: v.optional(v.boolean(), true),
    }),
    {},
  ),
  containers: v.optional(
    v.strictObject({
      /** Whether to make a directory in place of a mount's missing host_path. */
      create_missing_mount_sources: v.optional(v.boolean(), true),
      /** Where none is made all the same: at these paths, and below them. */
      missing_mount_sources_to_refuse: v.optional(v.array(absolutePath), []),
      /** What to do with volumes that an image declares: make a directory for each container, or nothing. */
      image_volumes: v.optional(v.picklist(["bind", "ignore"]), "bind"),
      /** Whether requested devices belong to run_as_user and run_as_group instead of their owners on the host. */
      device_ownership_from_security_context: v.optional(v.boolean(), false),
      /** Limit of processes and threads of each container; 0 means only the pod's limit. */
      pids_limit: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0)), 0),
      /** Resource limits of processes (getrlimit(2)); those not listed are the daemon's own. */
      default_ulimits: v.optional(v.array(rlimit), []),
      /** Definitions of the classes that annotations ask for; the files need not exist. */
      blockio_config_file: v.optional(absolutePath, "/etc/keelson/blockio.yaml"),
      rdt_config_file: v.optional(absolutePath, "/etc/keelson/rdt.yaml"),
    }),
    {},
  ),
  cni: v.optional(
    v.strictObject({
      conf_dir: v.optional(absolutePath, "/etc/cni/net.d"),
      bin_dirs: v.optional(v.array(absolutePath), ["/opt/cni/bin", "/usr/lib/cni"]),
      cache_dir: v.optional(absolutePath),
    }),
    {},
  ),
  cdi: v.optional(
    v.strictObject({
      /** Directories of Container Device Interface specifications; a later one takes precedence. */
      spec_dirs: v.optional(v.array(absolutePath), ["/etc/cdi", "/var/run/cdi"]),
    }),
    {},
  ),
  security: v.optional(
    v.strictObject({
      /** Whether programs with published flaws are refused, and not only named. */
      refuse_known_vulnerable: v.optional(v.boolean(), false),
    }),
    {},
  ),
  metrics: v.optional(
    v.strictObject({
      /** Without it, metrics are not served. */
      address: v.optional(listenAddress),
    }),
    {},
  ),
  streaming: v.optional(
    v.strictObject({
      /** Where exec, attach and port-forward are served. */
      address: v.optional(v.pipe(v.string(), v.ip("must be an IP address")), "127.0.0.1"),
      /** 0 for any free port. */
      port: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(65535)), 0),
      tls_cert_file: v.optional(absolutePath),
      tls_key_file: v.optional(absolutePath),
      /** Seconds without a byte after which a stream is closed. */
      idle_timeout: v.optional(v.pipe(positiveInteger, v.maxValue(2_000_000)), 14_400),
      /** Seconds that a client may take to open its streams. */
      creation_timeout: v.optional(v.pipe(positiveInteger, v.maxValue(2_000_000)), 30),
    }),
    {},
  ),
  tracing: v.optional(
    v.strictObject({
      /** Without it, nothing is sent. */
      endpoint: v.optional(v.pipe(v.string(), v.check(isHttpUrl, "must be an address such as http://127.0.0.1:4318"))),
    }),
    {},
  ),
  timeouts: v.optional(
    v.strictObject({
      /**
       * Seconds that starting a pod or creating a container may take; a plugin or runtime that hangs longer is an
       * error.
       */
      create: v.optional(positiveInteger, 240),
      /**
       * Seconds that stopping a pod, or removing a pod or container, may take; a plugin that hangs longer is killed.
       */
      stop: v.optional(positiveInteger, 240),
      /** Seconds that cleaning up after a failed call may take. */
      cleanup: v.optional(positiveInteger, 60),
    }),
    {},
  ),
});

export type Config = v.InferOutput<typeof configSchema>;

function isHttpUrl(text: string): boolean {
  return URL.canParse(text) && ["http:", "https:"].includes(new URL(text).protocol);
}

function parseListenAddress(text: string): { host: string; port: number } | undefined {
  const [, host = "", port = ""] = /^\[?([^[\]]*)\]?:(\d{1,5})$/.exec(text) ?? [];
  if (isIP(host) === 0 || isIPv6(host) !== text.startsWith("[") || Number(port) > 65535) return undefined;
  return { host, port: Number(port) };
}
