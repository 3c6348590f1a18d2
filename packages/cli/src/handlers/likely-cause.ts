/** Complaints of shims and of the machines that they start, with what mostly is behind them and what to do. */
const causes: readonly (readonly [complaint: RegExp, cause: string])[] = [
  [
    /\/dev\/kvm|no KVM|access KVM|kvm.*(?:not supported|no such (?:file|device))/i,
    "this machine has no usable /dev/kvm: enable virtualization in its firmware, or nested virtualization where it is a virtual machine itself, and load kvm_intel or kvm_amd",
  ],
  [
    /vhost/i,
    "the kernel's vhost modules are missing: `modprobe vhost_vsock vhost_net`; without vhost_net set `disable_vhost_net = true` in Kata's configuration",
  ],
  [
    /(?:not|must be|is no) (?:a )?shared (?:mount|propagation)|kata-containers.*(?:propagat|shared)|make-r?shared/i,
    "the shim's directory must be a shared mount: `mkdir -p /run/kata-containers && mount --bind /run/kata-containers /run/kata-containers && mount --make-rshared /run/kata-containers`",
  ],
  [
    /cannot find usable config|configuration(?:-[\w-]+)?\.toml.*(?:no such file|not found|does not exist)|config file.*(?:no such file|not found)/i,
    "the shim's configuration file is not there: install it where the shim looks for it (Kata: /etc/kata-containers/configuration.toml), or name it as ConfigPath in `options`",
  ],
  [
    /(?:^|: )not found(?: \(|$)/,
    'Kata before 2.5 does not know ConfigPath and says nothing but "not found": give its options as TypeUrl and Value (docs/runtimes.md)',
  ],
  [/\/dev\/log\b|syslog delivery error/i, "Kata 1.x writes to /dev/log: run a syslog daemon or journald"],
  [/virtiofsd/i, "virtiofsd is missing or not where Kata's configuration says (`virtio_fs_daemon`)"],
  [
    /(?:qemu|cloud-hypervisor|firecracker|hypervisor)\S*["']?:? .*(?:no such file|not found in)/i,
    "the hypervisor is missing or not where the shim's configuration says (`path` under `[hypervisor]`)",
  ],
  [
    /(?:vsock|agent).*(?:timed? ?out|deadline|connection refused|no such device)|timed? ?out.*(?:vsock|agent)|connect to (?:the )?agent/i,
    "the machine started but its agent does not answer: look at the guest's console, and whether kernel and image in the shim's configuration belong together",
  ],
  [
    /exec format error/i,
    "the shim, or what it starts, was built for another architecture; install the package of this one",
  ],
];

/** What mostly is behind an error of a runtime handler; undefined when its words show nothing. */
export function likelyCause(error: string): string | undefined {
  return causes.find(([complaint]) => complaint.test(error))?.[1];
}
