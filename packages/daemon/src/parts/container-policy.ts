import { readFileSync } from "node:fs";
import { Code, StatusError } from "@keelson/base/status.ts";
import type { ContainerPolicy } from "@keelson/engine/container/container-policy.ts";
import { rlimitOverOwn } from "@keelson/plan/rlimits.ts";
import type { Config } from "../config/schema.ts";

/** @param capabilities of this process. Throws FailedPrecondition for a limit that it may not give. */
export function containerPolicyOf({ containers }: Pick<Config, "containers">, capabilities: readonly string[], ownLimits = readFileSync("/proc/self/limits", "utf8")): ContainerPolicy {
  const rlimits = containers.default_ulimits;
  const over = capabilities.includes("CAP_SYS_RESOURCE") ? undefined : rlimitOverOwn(rlimits, ownLimits);
  if (over !== undefined) {
    throw new StatusError(Code.FailedPrecondition, `containers.default_ulimits: ${over.name} is over keelsond's own hard limit, ${over.ownHard}, and without CAP_SYS_RESOURCE it cannot give more`);
  }
  return {
    defaults: { pidsLimit: containers.pids_limit, rlimits },
    deviceOwnershipFromSecurityContext: containers.device_ownership_from_security_context,
    classFiles: { blockIo: containers.blockio_config_file, rdt: containers.rdt_config_file },
  };
}
