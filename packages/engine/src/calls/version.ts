import { version as runtimeVersion } from "@keelson/base/version.ts";
import type { VersionResponse } from "@keelson/cri/gen/runtime/v1/api.ts";

/** CRI: Version. */
export async function version(): Promise<VersionResponse> {
  return { version: "0.1.0", runtimeName: "keelson", runtimeVersion, runtimeApiVersion: "v1" };
}
