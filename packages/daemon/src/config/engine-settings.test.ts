import assert from "node:assert/strict";
import { test } from "node:test";
import { defaultSettings } from "@keelson/engine/settings.ts";
import { engineSettings } from "./engine-settings.ts";
import { parseConfig } from "./load.ts";

test("an empty file gives the engine's defaults, except for the directories of registry configuration", () => {
  const settings = engineSettings(parseConfig({ root: "/r", state: "/s" }, "test"));
  const defaults = defaultSettings({ root: "/r", state: "/s" });
  const hostsDirectories = ["/etc/keelson/certs.d", "/etc/containerd/certs.d"];
  assert.deepEqual(
    { ...settings, runtimes: { conmon: settings.runtimes.conmon, sections: settings.runtimes.sections } },
    { ...defaults, images: { ...defaults.images, hostsDirectories } },
  );
  assert.equal(settings.runtimes.defaultRuntime, undefined);
});

test("every setting of the file reaches the engine", () => {
  const settings = engineSettings(
    parseConfig(
      {
        default_runtime: "runc",
        runtimes: { big: { path: "/opt/crun" } },
        cni: { cache_dir: "/var/cni" },
        registry: { config_path: "/a::/b" },
        images: { max_layer_ratio: 7, keep_layers: true, pinned: ["pause"] },
        containers: { pids_limit: 9, image_volumes: "ignore" },
        timeouts: { create: 2 },
      },
      "test",
    ),
  );
  assert.equal(settings.runtimes.defaultRuntime, "runc");
  assert.equal(settings.runtimes.sections["big"]?.path, "/opt/crun");
  assert.equal(settings.cni.cacheDir, "/var/cni");
  assert.deepEqual(settings.images.hostsDirectories, ["/a", "/b"]);
  assert.deepEqual(
    [settings.images.layerLimits.maxRatio, settings.images.keepLayers, settings.pinnedImages],
    [7, true, ["pause"]],
  );
  assert.deepEqual(
    [settings.containers.defaults.pidsLimit, settings.mounts.imageVolumes, settings.timeouts.createMs],
    [9, "ignore", 2000],
  );
});
