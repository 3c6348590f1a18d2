import { join } from "node:path";
import type { EngineSettings } from "@keelson/engine/settings.ts";
import type { ImagesSettings } from "@keelson/images/open-images.ts";
import { cleanPath } from "@keelson/plan/clean-path.ts";
import type { RuntimesSettings } from "@keelson/runtimes/runtimes.ts";
import type { Config } from "./schema.ts";

/** The engine's settings in the configuration file. */
export function engineSettings(config: Config): EngineSettings {
  const { pods, containers, cni, timeouts } = config;
  return {
    paths: { root: config.root, state: config.state },
    cgroupDriver: config.cgroup_driver,
    runtimes: runtimesSettings(config),
    cni: { confDir: cni.conf_dir, binDirs: cni.bin_dirs, cacheDir: cni.cache_dir ?? join(config.root, "cni") },
    images: imagesSettings(config),
    pinnedImages: config.images.pinned,
    pods: {
      shm: { defaultBytes: pods.shm_size_bytes, annotationIsAllowed: pods.shm_size_annotation },
      sysctls: { unprivilegedPorts: pods.unprivileged_ports, unprivilegedPing: pods.unprivileged_ping },
    },
    mounts: {
      createMissingSources: containers.create_missing_mount_sources,
      missingSourcesToRefuse: containers.missing_mount_sources_to_refuse.map(cleanPath),
      imageVolumes: containers.image_volumes,
    },
    containers: {
      defaults: { pidsLimit: containers.pids_limit, rlimits: containers.default_ulimits },
      deviceOwnershipFromSecurityContext: containers.device_ownership_from_security_context,
      classFiles: { blockIo: containers.blockio_config_file, rdt: containers.rdt_config_file },
    },
    cdiSpecDirs: config.cdi.spec_dirs,
    security: { refuseKnownVulnerable: config.security.refuse_known_vulnerable },
    timeouts: { createMs: timeouts.create * 1000, stopMs: timeouts.stop * 1000, cleanupMs: timeouts.cleanup * 1000 },
  };
}

export function runtimesSettings(config: Pick<Config, "conmon" | "default_runtime" | "runtimes">): RuntimesSettings {
  return { conmon: config.conmon, defaultRuntime: config.default_runtime, sections: config.runtimes };
}

export function imagesSettings({ images, registry }: Pick<Config, "images" | "registry">): ImagesSettings {
  return {
    hostsDirectories: registry.config_path.split(":").filter((dir) => dir !== ""),
    maxParallelDownloads: images.max_parallel_downloads,
    keepLayers: images.keep_layers,
    layerLimits: {
      maxBytes: images.max_layer_bytes,
      maxRatio: images.max_layer_ratio,
      maxEntries: images.max_layer_entries,
      maxPathBytes: images.max_path_bytes,
    },
  };
}
