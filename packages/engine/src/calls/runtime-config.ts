import { CgroupDriver, type RuntimeConfigResponse } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Deps } from "../deps.ts";

/** CRI: RuntimeConfig. The kubelet adopts this cgroup driver. */
export async function runtimeConfig(d: Deps): Promise<RuntimeConfigResponse> {
  const cgroupDriver = d.host.cgroupDriver === "systemd" ? CgroupDriver.SYSTEMD : CgroupDriver.CGROUPFS;
  return { linux: { cgroupDriver } };
}
