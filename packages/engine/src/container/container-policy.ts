import { Code, StatusError } from "@keelson/base/status.ts";
import type { ContainerDefaults } from "@keelson/plan/container-plan.ts";
import { rlimitOverOwn } from "@keelson/plan/rlimits.ts";
import type { ClassFiles } from "./resource-classes.ts";

/** What the configuration says about all containers. */
export interface ContainerPolicy {
  readonly defaults: ContainerDefaults;
  readonly deviceOwnershipFromSecurityContext: boolean;
  readonly classFiles: ClassFiles;
}

/**
 * Throws FailedPrecondition for a default limit that this process must not set.
 *
 * @param capabilities of this process.
 * @param ownLimits /proc/self/limits
 */
export function checkOwnLimits(
  { defaults }: ContainerPolicy,
  capabilities: readonly string[],
  ownLimits: string,
): void {
  const over = capabilities.includes("CAP_SYS_RESOURCE") ? undefined : rlimitOverOwn(defaults.rlimits, ownLimits);
  if (over === undefined) return;
  throw new StatusError(
    Code.FailedPrecondition,
    `containers.default_ulimits: ${over.name} is over keelsond's own hard limit, ${over.ownHard}, and without CAP_SYS_RESOURCE it cannot set a higher one`,
  );
}
