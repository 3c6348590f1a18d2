// The daemon is killed within every effect of every call that changes something, and comes back. With
// KEELSON_CRASH=every-step it is killed before and after every single step, with each runtime and for each kind of pod and
// container, which takes ten times as long.
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, type TestContext, test } from "node:test";
import {
  type ContainerConfig,
  ContainerState,
  LinuxContainerResources,
  NamespaceMode,
  type PodSandboxConfig,
  PodSandboxState,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import { controllerDir, detectCgroups } from "@keelson/linux/cgroup.ts";
import { skip } from "@keelson/testkit/host-sandbox.ts";
import { busyboxImage, randomImage } from "@keelson/testkit/image.ts";
import { directory, file } from "@keelson/testkit/tar.ts";
import { imageSpec, type Pod, type RuntimeName, runtimes } from "../testing/test-node.ts";
import { CrashNode, type Sandbox } from "./testing/crash-node.ts";
import { Bystander, counterScript, crashEverywhere, type Scenario } from "./testing/crash-rounds.ts";

const { POD, CONTAINER, NODE } = NamespaceMode;
const ids = [{ containerId: 0, hostId: 200_000, length: 65_536 }];
const usernsOptions = { mode: POD, uids: ids, gids: ids };
const ready = PodSandboxState.SANDBOX_READY;
/** Ends with 7 when it is asked to. */
const stoppable = "trap 'exit 7' TERM; echo up; while :; do sleep 0.02; done";

const isEveryStep = process.env["KEELSON_CRASH"] === "every-step";
/** At which points of which call a daemon has died, and with which kind of pods. */
const deaths: { readonly call: string; readonly point: string; readonly kind: string }[] = [];

/**
 * Those points of a call at which a daemon need not die again with another config or kind of pod: all but what the
 * runtime does with this kind, and the record of what came out of it, which the next start finds.
 */
function pointsToPass(call: string, kind: string): string[] {
  if (isEveryStep) return [];
  return deaths
    .filter((death) => death.call === call)
    .filter(({ point }) => !/(?<!before )put record of \w+ \((created|running|exited|ready)\)/.test(point))
    .filter((death) => death.kind === kind || !death.point.startsWith("runtime."))
    .map(({ point }) => point);
}

for (const runtime of runtimes) {
  describe(`a daemon with ${runtime} that is killed at each step of`, { skip }, () =>
    killedAtEachStep(runtime, "none"),
  );
}
describe(`a daemon whose pods are containers that is killed at each step of`, { skip }, () =>
  killedAtEachStep("crun", "container"),
);

function killedAtEachStep(runtime: RuntimeName, sandbox: Sandbox): void {
  /** Without KEELSON_CRASH=every-step, the calls in which the OCI runtime has no part of its own are for the first one. */
  const ofPods = { skip: runtime === runtimes[0] || isEveryStep ? false : `${runtime} has no part in it` };
  const others = {
    skip:
      ofPods.skip === false && sandbox === "container" && !isEveryStep ? "the sandbox has no part in it" : ofPods.skip,
  };
  const ofContainers = { skip: sandbox === "container" && !isEveryStep ? "the sandbox has no part in it" : false };
  let crash: CrashNode;
  let bystander: Bystander;
  let pod: Pod;
  before(async () => {
    crash = await CrashNode.start({ runtime, sandbox });
    bystander = await Bystander.start(crash);
    pod = await crash.runPod();
  });
  after(() => crash[Symbol.asyncDispose]());

  async function everyStep<T>(t: TestContext, scenario: Scenario<T>): Promise<void> {
    const startedAtMs = performance.now();
    const call = /^\w+/.exec(t.name)![0];
    const kind = `${runtime} ${sandbox}`;
    const points = await crashEverywhere(crash, bystander, scenario, pointsToPass(call, kind));
    deaths.push(...points.map((point) => ({ call, point, kind })));
    const ms = Math.round((performance.now() - startedAtMs) / points.length);
    t.diagnostic(`${points.length} points, ${ms} ms each:`);
    for (const point of points) t.diagnostic(point);
    assert.ok(points.length > 0);
  }

  const namespaces = {
    "with a network of its own": { pid: CONTAINER },
    "with a PID namespace of its own": { pid: POD },
    "in the host's network": { pid: CONTAINER, network: NODE },
    "with a user namespace": { pid: POD, usernsOptions },
    "with a user namespace in the host's network": { pid: CONTAINER, network: NODE, usernsOptions },
  };
  for (const [name, namespaceOptions] of Object.entries(namespaces)) {
    test(`RunPodSandbox ${name} undoes it, and the retry makes the pod`, ofPods, async (t) => {
      const run = (config: PodSandboxConfig) => crash.call("runPodSandbox", { config, runtimeHandler: "" });
      const portMappings =
        namespaceOptions.pid === CONTAINER && !("network" in namespaceOptions)
          ? [{ containerPort: 80, hostPort: 18081 }]
          : [];
      let id = "";
      await everyStep(t, {
        prepare: () =>
          Promise.resolve(crash.node.podConfig({ linux: { securityContext: { namespaceOptions } }, portMappings })),
        call: (_, config) => run(config),
        retry: async (_, config) => {
          id = (await run(config)).podSandboxId;
          assert.equal((await crash.podStatus(id)).state, ready);
        },
        finish: async (_, config) => crash.removePod((await run(config)).podSandboxId),
      });
    });
  }

  async function removeContainers(of = pod): Promise<void> {
    const { containers } = await crash.call("listContainers", {
      filter: { id: "", state: undefined, podSandboxId: of.id, labelSelector: {} },
    });
    for (const { id } of containers) await crash.removeContainer(id);
  }

  test("CreateContainer undoes it, and the retry makes the container", async (t) => {
    const create = (config: ContainerConfig) => crash.createContainer(pod, config);
    await everyStep(t, {
      prepare: () => Promise.resolve(crash.node.containerConfig(counterScript)),
      call: (_, config) => create(config),
      retry: async (_, config) => {
        const containerId = await create(config);
        assert.equal((await crash.containerStatus(containerId)).state, ContainerState.CONTAINER_CREATED);
        await crash.call("startContainer", { containerId });
        await crash.untilLogged(containerId, "1");
      },
      finish: () => removeContainers(),
    });
  });

  test(
    "CreateContainer with an image mounted and a volume of its image undoes it, and the retry makes the container",
    ofContainers,
    async (t) => {
      const content = busyboxImage({
        config: { Volumes: { "/data": {} } },
        extra: [directory("data/"), file("data/f", "f")],
      });
      const image = crash.node.registry.add("test/volume", "latest", content);
      await crash.pull(image);
      const create = (config: ContainerConfig) => crash.createContainer(pod, config);
      await everyStep(t, {
        prepare: () =>
          Promise.resolve(
            crash.node.containerConfig({
              image: { image },
              command: ["sh", "-c", "cat /data/f /img/data/f; echo; sleep 600"],
              mounts: [{ containerPath: "/img", readonly: true, image: imageSpec(image) }],
            }),
          ),
        call: (_, config) => create(config),
        retry: async (_, config) => {
          const containerId = await create(config);
          await crash.call("startContainer", { containerId });
          await crash.untilLogged(containerId, "ff");
        },
        finish: () => removeContainers(),
      });
      await crash.call("removeImage", { image: imageSpec(image) });
    },
  );

  test(
    "CreateContainer in a user namespace with mapped volumes and a device undoes it, and the retry makes the container",
    ofContainers,
    async (t) => {
      const namespaceOptions = { pid: CONTAINER, usernsOptions };
      const own = await crash.runPod({ linux: { securityContext: { namespaceOptions } } });
      const hostPath = mkdtempSync(join(crash.node.dir, "volume-"));
      const mapped = { hostPath, uidMappings: ids, gidMappings: ids };
      const other = [{ containerId: 0, hostId: 300_000, length: 1 }];
      const create = (config: ContainerConfig) => crash.createContainer(own, config);
      await everyStep(t, {
        prepare: () =>
          Promise.resolve(
            crash.node.containerConfig({
              command: ["sh", "-c", "stat -c %u /data /dev/my-full; sleep 600"],
              mounts: [
                { ...mapped, containerPath: "/data" },
                {
                  ...mapped,
                  containerPath: "/other",
                  uidMappings: other,
                  gidMappings: other,
                  readonly: true,
                  recursiveReadOnly: true,
                },
              ],
              devices: [{ hostPath: "/dev/full", containerPath: "/dev/my-full", permissions: "rw" }],
              linux: { securityContext: { namespaceOptions } },
            }),
          ),
        call: (_, config) => create(config),
        retry: async (_, config) => {
          const containerId = await create(config);
          await crash.call("startContainer", { containerId });
          await crash.untilLogged(containerId, "0");
        },
        finish: () => removeContainers(own),
      });
      await crash.removePod(own.id);
    },
  );

  test("StartContainer has started it or starts it in the retry", ofContainers, async (t) => {
    await everyStep(t, {
      prepare: () => crash.createContainer(pod, crash.node.containerConfig(counterScript)),
      call: (_, containerId) => crash.call("startContainer", { containerId }),
      retry: async (_, containerId) => {
        if ((await crash.containerStatus(containerId)).state === ContainerState.CONTAINER_CREATED)
          await crash.call("startContainer", { containerId });
        assert.equal((await crash.containerStatus(containerId)).state, ContainerState.CONTAINER_RUNNING);
        await crash.untilLogged(containerId, "3");
      },
      finish: (_, containerId) => crash.removeContainer(containerId),
    });
  });

  test("UpdateContainerResources is taken back, and the retry does it", ofContainers, async (t) => {
    const resources = (memoryLimitInBytes: bigint, oomScoreAdj: bigint) =>
      LinuxContainerResources.fromPartial({ memoryLimitInBytes, oomScoreAdj, cpuQuota: -1n });
    const limits = async (containerId: string) => {
      const { cgroup, pid } = await crash.containerInfo(containerId);
      const file = detectCgroups().kind === "v2" ? "memory.max" : "memory.limit_in_bytes";
      const shown = (await crash.containerStatus(containerId)).resources!.linux!;
      const inFile = readFileSync(join(controllerDir(detectCgroups(), cgroup, "memory")!, file), "utf8").trim();
      const score = readFileSync(`/proc/${pid}/oom_score_adj`, "utf8").trim();
      assert.deepEqual(
        [String(shown.memoryLimitInBytes), String(shown.oomScoreAdj)],
        [inFile, score],
        "what is told and what is there",
      );
      return inFile;
    };
    await everyStep(t, {
      prepare: () =>
        crash.runContainer(pod, { command: ["sleep", "600"], linux: { resources: resources(50_003_968n, 100n) } }),
      call: (_, containerId) =>
        crash.call("updateContainerResources", {
          containerId,
          linux: resources(60_002_304n, 200n),
          windows: undefined,
          annotations: {},
        }),
      retry: async (_, containerId) => {
        assert.match(await limits(containerId), /^(50003968|60002304)$/);
        await crash.call("updateContainerResources", {
          containerId,
          linux: resources(60_002_304n, 200n),
          windows: undefined,
          annotations: {},
        });
        assert.equal(await limits(containerId), "60002304");
      },
      finish: (_, containerId) => crash.removeContainer(containerId),
    });
  });

  const stops = {
    "with a grace period": { timeout: 10n, exitCode: 7, reason: "Error" },
    "at once": { timeout: 0n, exitCode: 137, reason: "Error" },
  };
  for (const [name, { timeout, exitCode, reason }] of Object.entries(stops)) {
    test(`StopContainer ${name} has ended it or ends it in the retry`, async (t) => {
      await everyStep(t, {
        prepare: async () => {
          const id = await crash.runContainer(pod, stoppable);
          await crash.untilLogged(id, "up");
          return id;
        },
        call: (_, containerId) => crash.call("stopContainer", { containerId, timeout }),
        retry: async (_, containerId) => {
          await crash.call("stopContainer", { containerId, timeout });
          const status = await crash.containerStatus(containerId);
          assert.deepEqual(
            [status.state, status.exitCode, status.reason],
            [ContainerState.CONTAINER_EXITED, exitCode, reason],
          );
        },
        finish: (_, containerId) => crash.removeContainer(containerId),
      });
    });
  }

  test("RemoveContainer has removed it or removes it in the retry", ofContainers, async (t) => {
    await everyStep(t, {
      prepare: () => crash.runContainer(pod, counterScript),
      call: (_, id) => crash.removeContainer(id),
      retry: async (_, id) => {
        await crash.removeContainer(id);
        await assert.rejects(crash.containerStatus(id), /there is none/);
      },
      finish: (_, id) => crash.removeContainer(id),
    });
  });

  async function podWithContainer(): Promise<Pod> {
    const made = await crash.runPod({
      linux: { securityContext: { namespaceOptions: { pid: POD } } },
      portMappings: [{ containerPort: 80, hostPort: 18082 }],
    });
    const id = await crash.runContainer(made, counterScript);
    await crash.untilLogged(id, "1");
    return made;
  }

  test("StopPodSandbox has stopped it or stops it in the retry", ofPods, async (t) => {
    await everyStep(t, {
      prepare: podWithContainer,
      call: (_, { id }) => crash.call("stopPodSandbox", { podSandboxId: id }),
      retry: async (_, { id }) => {
        await crash.call("stopPodSandbox", { podSandboxId: id });
        assert.equal((await crash.podStatus(id)).state, PodSandboxState.SANDBOX_NOTREADY);
        const { containers } = await crash.call("listContainers", {
          filter: { id: "", state: undefined, podSandboxId: id, labelSelector: {} },
        });
        assert.deepEqual(
          containers.map((c) => c.state),
          [ContainerState.CONTAINER_EXITED],
        );
      },
      finish: (_, { id }) => crash.removePod(id),
    });
  });

  test("RemovePodSandbox has removed it or removes it in the retry", ofPods, async (t) => {
    await everyStep(t, {
      prepare: podWithContainer,
      call: (_, { id }) => crash.call("removePodSandbox", { podSandboxId: id }),
      retry: async (_, { id }) => {
        await crash.call("removePodSandbox", { podSandboxId: id });
        await assert.rejects(crash.podStatus(id), /there is none/);
      },
      finish: (_, { id }) => crash.removePod(id),
    });
  });

  function addImage(): string {
    const content = randomImage({ seed: 1, layers: 3, bytes: 60_000 });
    crash.layers.set(content.config.digest, content.layers.length);
    return crash.node.registry.add("test/layers", "latest", content);
  }

  test("PullImage leaves nothing half, and the retry has the image", others, async (t) => {
    const image = addImage();
    await everyStep(t, {
      prepare: () => Promise.resolve(),
      call: () => crash.pull(image),
      retry: () => Promise.resolve(),
      finish: async () => {
        await crash.pull(image);
        await crash.call("removeImage", { image: imageSpec(image) });
      },
    });
  });

  test("RemoveImage has removed it or removes it in the retry", others, async (t) => {
    const image = addImage();
    await everyStep(t, {
      prepare: () => crash.pull(image),
      call: () => crash.call("removeImage", { image: imageSpec(image) }),
      retry: async () => {
        await crash.call("removeImage", { image: imageSpec(image) });
        assert.equal((await crash.call("imageStatus", { image: imageSpec(image), verbose: false })).image, undefined);
      },
      finish: () => Promise.resolve(),
    });
  });
}
