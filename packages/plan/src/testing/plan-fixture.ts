import { ContainerConfig, PodSandboxConfig } from "@keelson/cri/gen/runtime/v1/api.ts";
import { fromJson } from "@keelson/cri/json.ts";
import type { SeccompSpec } from "@keelson/oci/runtime-spec/seccomp.ts";
import type { AnnotationGlobs } from "../annotation-globs.ts";
import { capabilityNames } from "../capabilities.ts";
import type { CdiEdits } from "../cdi.ts";
import { planContainer, type ContainerDefaults, type ContainerPlan } from "../container-plan.ts";
import type { ResolvedDevice } from "../devices.ts";
import type { HandlerFacts, HostFacts } from "../host-facts.ts";
import type { SourceTraits } from "../mounts-spec.ts";
import { planPodSandbox, type PodPlan } from "../pod-plan.ts";
import type { ImageDefaults } from "../process.ts";

/** What a test needs to say about a pod and a container; everything else is an ordinary machine and image. */
export interface PlanFixture {
  host?: Partial<HostFacts>;
  handler?: Partial<HandlerFacts>;
  /** PodSandboxConfig as JSON; replaces properties of a complete one. */
  pod?: object;
  /** ContainerConfig as JSON; replaces properties of a complete one. */
  container?: object;
  image?: Partial<ImageDefaults>;
  defaults?: Partial<ContainerDefaults>;
  /** Those of the handler's section. */
  annotationGlobs?: AnnotationGlobs;
  baseSpec?: object;
  passwd?: string;
  group?: string;
  pidNamespacePath?: string;
  /** Where the links of host paths lead, for those that have any. */
  resolvedHostPaths?: Record<string, string>;
  sourceTraits?: Record<string, SourceTraits>;
  devices?: ResolvedDevice[];
  hostDevices?: ResolvedDevice[];
  /** The content of the file of a Localhost seccomp profile. */
  localhostSeccomp?: SeccompSpec;
  /** What the machine's CDI specification files say about the devices. */
  cdi?: CdiEdits;
}

const host: HostFacts = {
  arch: "x64",
  kernelVersion: "6.1.0-18-amd64",
  hostname: "node-1",
  cgroupVersion: "v2",
  cgroupDriver: "cgroupfs",
  controllers: ["cpu", "cpuset", "hugetlb", "io", "memory", "pids"],
  cgroup2MountOptions: ["nsdelegate", "memory_recursiveprot"],
  hasSwapAccounting: true,
  hugepageSizes: ["2MB", "1GB"],
  capabilities: capabilityNames,
  oomScoreAdjMin: -1000,
  seccompEnabled: true,
  appArmorEnabled: false,
  appArmorDefaultProfile: "",
  seLinuxEnabled: false,
  seLinuxProcessLabel: "system_u:system_r:container_t:s0",
  seLinuxFileLabel: "system_u:object_r:container_file_t:s0",
  resctrlMounted: false,
  recursiveReadOnlyMounts: true,
  idMapProblem: "",
};

const image: ImageDefaults = {
  user: "",
  env: ["PATH=/usr/bin:/bin"],
  entrypoint: [],
  cmd: ["/bin/sh"],
  workingDir: "",
  stopSignal: "",
  volumes: [],
};

/** The facts of a machine that has everything, with the test's overrides. */
export function hostFrom(overrides: Partial<HostFacts> = {}): HostFacts {
  return { ...host, ...overrides };
}

/** The facts of an ordinary handler, with the test's overrides. */
export function handlerFrom(overrides: Partial<HandlerFacts> = {}): HandlerFacts {
  return { name: "crun", recursiveReadOnlyMounts: true, userNamespaces: true, sandbox: "none", ...overrides };
}

/** Throws what planning throws. */
export function podFrom(fixture: PlanFixture): PodPlan {
  const json = {
    metadata: { name: "web", namespace: "default", uid: "0f3a" },
    hostname: "web",
    log_directory: "/var/log/pods/web",
    ...fixture.pod,
  };
  const config = PodSandboxConfig.fromPartial(fromJson("PodSandboxConfig", json));
  return planPodSandbox({
    config,
    runtimeHandler: "crun",
    host: hostFrom(fixture.host),
    handler: handlerFrom(fixture.handler),
    id: "pod1",
  });
}

/** Throws what planning throws. */
export function containerFrom(
  fixture: PlanFixture,
  pod: PodPlan = podFrom(fixture),
): { plan: ContainerPlan; config: ContainerConfig; host: HostFacts } {
  const json = {
    metadata: { name: "nginx" },
    image: { image: "sha256:1234", user_specified_image: "nginx:1" },
    ...fixture.container,
  };
  const facts = hostFrom(fixture.host);
  const config = ContainerConfig.fromPartial(fromJson("ContainerConfig", json));
  const plan = planContainer({
    config,
    pod,
    image: { id: "sha256:1234", config: { ...image, ...fixture.image } },
    host: facts,
    handler: handlerFrom(fixture.handler),
    id: "container1",
    defaults: { pidsLimit: 0, rlimits: [], ...fixture.defaults },
    ...(fixture.annotationGlobs === undefined ? {} : { annotationGlobs: fixture.annotationGlobs }),
  });
  return { plan, config, host: facts };
}
