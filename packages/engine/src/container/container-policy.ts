import type { ContainerDefaults } from "@keelson/plan/container-plan.ts";
import type { ClassFiles } from "./resource-classes.ts";

/** What the configuration says of every container. */
export interface ContainerPolicy {
  readonly defaults: ContainerDefaults;
  readonly deviceOwnershipFromSecurityContext: boolean;
  readonly classFiles: ClassFiles;
}
