import { join } from "node:path";
import type { ImagesSettings } from "@keelson/images/open-images.ts";
import type { HostFacts } from "@keelson/plan/host-facts.ts";
import { defaultPodPolicy, type PodPolicy } from "@keelson/plan/pod-plan.ts";
import type { RuntimesSettings } from "@keelson/runtimes/runtimes.ts";
import type { ContainerPolicy } from "./container/container-policy.ts";
import type { MountPolicy } from "./container/mount-sources.ts";
import type { Paths } from "./records/paths.ts";

/** The settings of an engine. keelsond takes them from its configuration file. */
export interface EngineSettings {
  readonly paths: Paths;
  /** Undefined means systemd if that runs. */
  readonly cgroupDriver: HostFacts["cgroupDriver"] | undefined;
  readonly runtimes: RuntimesSettings;
  readonly cni: { readonly confDir: string; readonly binDirs: readonly string[]; readonly cacheDir: string };
  readonly images: ImagesSettings;
  /** Names of images that garbage collection must spare, as a user writes them. */
  readonly pinnedImages: readonly string[];
  readonly pods: PodPolicy;
  readonly mounts: MountPolicy;
  readonly containers: ContainerPolicy;
  /** Directories of CDI specifications; a later one takes precedence. */
  readonly cdiSpecDirs: readonly string[];
  readonly security: { readonly refuseKnownVulnerable: boolean };
  readonly timeouts: { readonly createMs: number; readonly stopMs: number; readonly cleanupMs: number };
}

/**
 * Default settings of an engine that stores everything in two directories: one that survives reboots, and one for this
 * boot.
 */
export function defaultSettings(paths: Paths): EngineSettings {
  return {
    paths,
    cgroupDriver: undefined,
    runtimes: { conmon: "conmon", sections: {} },
    cni: { confDir: "/etc/cni/net.d", binDirs: ["/opt/cni/bin", "/usr/lib/cni"], cacheDir: join(paths.root, "cni") },
    images: {
      hostsDirectories: [],
      maxParallelDownloads: 6,
      keepLayers: false,
      layerLimits: { maxBytes: 64 * 1024 ** 3, maxRatio: 200, maxEntries: 5_000_000, maxPathBytes: 4095 },
    },
    pinnedImages: [],
    pods: defaultPodPolicy,
    mounts: { createMissingSources: true, missingSourcesToRefuse: [], imageVolumes: "bind" },
    containers: {
      defaults: { pidsLimit: 0, rlimits: [] },
      deviceOwnershipFromSecurityContext: false,
      classFiles: { blockIo: "/etc/keelson/blockio.yaml", rdt: "/etc/keelson/rdt.yaml" },
    },
    cdiSpecDirs: ["/etc/cdi", "/var/run/cdi"],
    security: { refuseKnownVulnerable: false },
    timeouts: { createMs: 240_000, stopMs: 240_000, cleanupMs: 60_000 },
  };
}
