import type { UpdateRuntimeConfigRequest, UpdateRuntimeConfigResponse } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Deps } from "../deps.ts";

/** CRI: UpdateRuntimeConfig. Only records the pod CIDR: networks are configured by CNI lists. */
export async function updateRuntimeConfig(
  d: Deps,
  req: UpdateRuntimeConfigRequest,
): Promise<UpdateRuntimeConfigResponse> {
  const podCidr = req.runtimeConfig?.networkConfig?.podCidr ?? "";
  d.network.updateRuntimeConfig(podCidr);
  return {};
}
