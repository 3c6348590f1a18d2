import { createHash } from "node:crypto";
import { toJson } from "@keelson/cri/json.ts";

/**
 * A digest that identifies retries: equal configs have equal digests, whatever the order of their maps (Go's is
 * random).
 */
export function configHash(type: "PodSandboxConfig" | "ContainerConfig", config: object): string {
  return createHash("sha256")
    .update(JSON.stringify(toJson(type, config), sortKeys))
    .digest("hex");
}

function sortKeys(_key: string, value: unknown): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
}
