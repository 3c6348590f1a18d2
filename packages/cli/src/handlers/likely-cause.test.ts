import assert from "node:assert/strict";
import { test } from "node:test";
import { likelyCause } from "./likely-cause.ts";

const shim = "run the pod: start its sandbox with kata: create container 12ab with kata: ";

for (const [error, cause] of [
  [`${shim}Could not access KVM kernel module: No such file or directory`, /\/dev\/kvm/],
  ["start the shim /usr/local/bin/containerd-shim-kata-v2: no KVM on this machine (exit code 1)", /\/dev\/kvm/],
  [`${shim}open /dev/vhost-vsock: no such file or directory`, /modprobe vhost_vsock/],
  [`${shim}failed to launch qemu: vhost-net requested but could not be initialized`, /disable_vhost_net/],
  [`${shim}/run/kata-containers/shared is not a shared mount`, /--make-rshared/],
  ["start the shim x: Cannot find usable config file (exit code 1)", /ConfigPath/],
  ["start the shim x: /etc/kata-containers/configuration-qemu.toml: no such file or directory", /ConfigPath/],
  [`${shim}not found`, /TypeUrl/],
  [`${shim}Unix syslog delivery error`, /syslog/],
  ["start the shim x: dial unixgram /dev/log: connect: no such file", /syslog/],
  [`${shim}fork/exec /usr/libexec/virtiofsd: no such file or directory`, /virtio_fs_daemon/],
  [`${shim}exec: "qemu-system-x86_64": executable file not found in $PATH`, /hypervisor/],
  [`${shim}timed out connecting to vsock 3:1024`, /console/],
  ["start the shim x: fork/exec: exec format error", /architecture/],
] as const)
  test(`the likely cause of: ${error.slice(-60)}`, () => assert.match(likelyCause(error) ?? "none", cause));

for (const error of [
  "create the container: image busybox is not on this node; pull it first",
  "run the pod: attach the network: plugin bridge: not found in /opt/cni/bin",
  "",
])
  test(`nothing is guessed of: ${error}`, () => assert.equal(likelyCause(error), undefined));
