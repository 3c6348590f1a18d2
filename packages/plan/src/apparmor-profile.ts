/** The profile behind RuntimeDefault, once the daemon has loaded it. */
export const defaultAppArmorName = "keelson-default";

/** What in /proc is neither a process nor a setting. */
const procDirectories = ["acpi", "asound", "bus", "driver", "fs", "irq", "mtrr", "scsi", "tty"];
/** All settings except those that each namespace has: net, fs.mqueue, kernel.{domainname,hostname,msg*,sem*,shm*}. */
const sysctls = [
  "abi/**",
  "debug/**",
  "dev/**",
  "fs/[^m]**",
  "fs/m[^q]**",
  "kernel/[^dhms]**",
  "kernel/d[^o]**",
  "kernel/h[^o]**",
  "kernel/hotplug",
  "kernel/m[^s]**",
  "kernel/s[^eh]**",
  "kernel/seccomp/**",
  "user/**",
  "vm/**",
];
/** All of /sys except the container's cgroup. */
const sysDirectories = [
  "block",
  "bus",
  "class",
  "dev",
  "devices",
  "firmware",
  "fs/[^c]*",
  "hypervisor",
  "kernel",
  "module",
  "power",
];

/**
 * What AppArmor enforces for a container that asks for nothing (apparmor.d(5)). It allows everything that capabilities,
 * namespaces and seccomp allow, except mounts and writes to the machine's part of /proc and /sys; signals and tracing
 * are allowed only among containers of this profile and from outside. It includes no other file, so it needs nothing
 * that must be installed on the machine.
 */
export function appArmorProfile(): string {
  const rules = [
    "network,",
    "capability,",
    "file,",
    "umount,",
    // The daemon, and the runtimes, which have their own profiles on newer systems.
    "signal (receive) peer=unconfined,",
    "signal (receive) peer={crun,runc,/usr/bin/crun,/usr/sbin/runc},",
    `signal (send, receive) peer=${defaultAppArmorName},`,
    `ptrace (trace, read, tracedby, readby) peer=${defaultAppArmorName},`,
    "deny mount,",
    "deny /proc/{kcore,kmem,mem,sysrq-trigger} rwklx,",
    ...procDirectories.map((dir) => `deny /proc/${dir}/** wklx,`),
    ...sysctls.map((pattern) => `deny /proc/sys/${pattern} wklx,`),
    ...sysDirectories.map((dir) => `deny /sys/${dir}/** wklx,`),
    "deny /sys/kernel/security/** rwklx,",
  ];
  return `profile ${defaultAppArmorName} flags=(attach_disconnected,mediate_deleted) {\n${rules.map((rule) => `  ${rule}\n`).join("")}}\n`;
}
