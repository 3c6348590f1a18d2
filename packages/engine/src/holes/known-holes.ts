/** The programs that a hole can be in. A CNI plugin goes by its type. */
export const programs = ["runc", "crun", "conmon", "runsc", "portmap", "bridge"] as const;
export type Program = (typeof programs)[number];

/** A published flaw of a program below us. */
export interface KnownHole {
  readonly program: Program;
  /** Those of one release that mean the same are one entry. */
  readonly advisories: readonly string[];
  /** The first version that has it, where older ones do not. */
  readonly since?: string;
  /** The releases that closed it, oldest first, one for each branch (1.2, 1.3) that got it. */
  readonly fixedIn: readonly string[];
  /** Packages of distributions that closed it in an older version. */
  readonly packagesFixedIn?: readonly string[];
  /** Who can do what, and when that matters. */
  readonly means: string;
}

/**
 * The published flaws that a container, an image or a pod's settings can use on a node of ours. Not listed: flaws that
 * need what keelsond never does, such as checkpoints, builds of images and runtimes without root. docs/security.md says
 * how this is kept.
 */
export const knownHoles: readonly KnownHole[] = [
  {
    program: "runc",
    advisories: ["CVE-2025-31133", "CVE-2025-52565", "CVE-2025-52881"],
    fixedIn: ["1.2.8", "1.3.3", "1.4.0-rc.3"],
    means: "a container that races with its own start gets write access to /proc of the node, and so to the node",
  },
  {
    program: "runc",
    advisories: ["CVE-2026-41579"],
    fixedIn: ["1.3.6", "1.4.3", "1.5.0-rc.3"],
    means: "an image whose /dev is a link makes runc change a few files of the node; low severity",
  },
  {
    program: "runc",
    advisories: ["CVE-2024-21626"],
    since: "1.0.0-rc93",
    fixedIn: ["1.1.12"],
    packagesFixedIn: ["1.1.5+ds1-1+deb12u1"],
    means: "a working directory such as /proc/self/fd/7, from an image or a pod, leads to the node's files",
  },
  {
    program: "runc",
    advisories: ["CVE-2019-5736"],
    fixedIn: ["1.0.0-rc7"],
    means: "root in a container overwrites runc on the node",
  },
  {
    program: "crun",
    advisories: ["CVE-2026-88264", "CVE-2026-88265"],
    fixedIn: ["1.30"],
    means:
      "an image with links for /dev/console or /dev/null makes crun write to a file of the node; only in containers without a mount on /dev, which keelsond always makes",
  },
  {
    program: "crun",
    advisories: ["CVE-2022-27650"],
    fixedIn: ["1.4.4"],
    means: "programs in a container get capabilities through inheritable ones that nobody asked for",
  },
  {
    program: "crun",
    advisories: ["CVE-2019-18837"],
    fixedIn: ["0.10.5"],
    means: "an image with links as targets of mounts reaches files of the node",
  },
  {
    program: "conmon",
    advisories: ["CVE-2022-1708"],
    fixedIn: ["2.1.2"],
    means: "the output of a command fills the node's disk; only for execs through conmon, which keelsond does not use",
  },
  {
    program: "runsc",
    advisories: ["CVE-2026-96812"],
    // The record names a commit. This is the first release of which we know that it came later.
    fixedIn: ["20261005.0"],
    means: "an image with the device /dev/cuse gets root on the node, where its kernel has CUSE",
  },
  {
    program: "runsc",
    advisories: ["CVE-2025-2713"],
    fixedIn: ["20250319.0"],
    means: "a user inside a sandbox reads files of that sandbox that only its root may",
  },
  {
    program: "portmap",
    advisories: ["CVE-2025-67499"],
    since: "1.6.0",
    fixedIn: ["1.9.0"],
    means:
      "with the nftables backend, a host port takes traffic of other addresses with the same port, other pods' included",
  },
  {
    program: "portmap",
    advisories: ["CVE-2019-9946"],
    fixedIn: ["0.7.5"],
    means: "a host port takes traffic of a service with the same port",
  },
  {
    program: "bridge",
    advisories: ["CVE-2020-10749"],
    fixedIn: ["0.8.6"],
    means: "a container with CAP_NET_RAW redirects the node's traffic to itself by IPv6 router advertisements",
  },
];
