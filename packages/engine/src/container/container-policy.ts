import { readFileSync } from "node:fs";
import { Code, StatusError } from "@keelson/base/status.ts";
import type { Config } from "@keelson/daemon/config/schema.ts";
import type { ContainerDefaults } from "@keelson/plan/container-plan.ts";
import { rlimitOverOwn } from "@keelson/plan/rlimits.ts";
import type { ClassFiles } from "./resource-classes.ts";

/** What the configuration says of every container. */
export interface ContainerPolicy {
  readonly defaults: ContainerDefaults;
  readonly deviceOwnershipFromSecurityContext: boolean;
  readonly classFiles: ClassFiles;
}

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
