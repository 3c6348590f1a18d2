import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Image, makeImage, makeLayer } from "@keelson/testkit/image.ts";
import { file } from "@keelson/testkit/tar.ts";
import { DaemonProcess } from "../daemon-process.ts";
import type { PodNetwork } from "../keelsond.ts";
import { findProgram } from "./find-program.ts";

/** What containerd is started with. */
interface ContainerdOptions {
  /** For all its files. */
  readonly dir: string;
  readonly network: PodNetwork & { readonly binDir: string };
  /** `host:port` of the registry, which has no TLS. */
  readonly registry: string;
  readonly pauseImage: string;
}

/** Starts Debian's containerd (1.6 in Debian 12), with runc and a pod network like ours. */
export async function startContainerd(
  { dir, network, registry, pauseImage }: ContainerdOptions,
  signal: AbortSignal,
): Promise<DaemonProcess> {
  const hosts = join(dir, "certs.d", registry);
  mkdirSync(hosts, { recursive: true });
  writeFileSync(
    join(hosts, "hosts.toml"),
    `server = "http://${registry}"\n[host."http://${registry}"]\n  capabilities = ["pull", "resolve"]\n`,
  );
  const configFile = join(dir, "config.toml");
  writeFileSync(configFile, containerdConfig(dir, network, pauseImage));
  const endpoint = `unix://${join(dir, "containerd.sock")}`;
  const command = findProgram("containerd") ?? "containerd";
  return await DaemonProcess.start(
    { name: "containerd", command, args: ["--config", configFile], endpoint, logFile: containerdLog(dir) },
    signal,
  );
}

/** The log of the containerd in `dir`. */
function containerdLog(dir: string): string {
  return join(dir, "containerd.log");
}

/** https://github.com/containerd/containerd/blob/release/1.6/docs/cri/config.md */
function containerdConfig(dir: string, network: PodNetwork & { readonly binDir: string }, pauseImage: string): string {
  const text = JSON.stringify; // a TOML basic string is a JSON string
  return `version = 2
root = ${text(join(dir, "root"))}
state = ${text(join(dir, "state"))}
oom_score = 0
# Each of these looks for its file system or program when the daemon starts; pods use overlayfs.
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
[grpc]
  address = ${text(join(dir, "containerd.sock"))}
[ttrpc]
  address = ${text(join(dir, "containerd.sock.ttrpc"))}
[plugins."io.containerd.internal.v1.opt"]
  path = ${text(join(dir, "opt"))}
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = ${text(pauseImage)}
  disable_apparmor = true
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = ${text(network.binDir)}
    conf_dir = ${text(network.confDir)}
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = ${text(join(dir, "certs.d"))}
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        BinaryName = ${text(findProgram("runc") ?? "runc")}
        SystemdCgroup = false
`;
}

/**
 * The image of the process that containerd keeps in every pod: a static program that sleeps, like Kubernetes' pause.
 */
export function makePauseImage(dir: string): Image {
  const source = join(dir, "pause.c");
  const program = join(dir, "pause");
  writeFileSync(source, "#include <unistd.h>\nint main(void) { for (;;) pause(); }\n");
  execFileSync("gcc", ["-Os", "-static", "-s", "-o", program, source]);
  return makeImage([makeLayer([file("pause", readFileSync(program), { mode: 0o755 })])], {
    config: { Entrypoint: ["/pause"] },
  });
}
