import { existsSync, renameSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { Code, codeOf, messageOf } from "@keelson/base/status.ts";
import {
  ContainerConfig,
  ContainerState,
  ContainerStatusRequest,
  type ContainerStatus,
  CreateContainerRequest,
  ExecSyncRequest,
  NamespaceMode,
  PodSandboxConfig,
  PodSandboxState,
  PodSandboxStatusRequest,
  PullImageRequest,
  RemoveContainerRequest,
  RemoveImageRequest,
  RemovePodSandboxRequest,
  ReopenContainerLogRequest,
  RunPodSandboxRequest,
  StartContainerRequest,
  StopContainerRequest,
  StopPodSandboxRequest,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import type { RequestOf, ResponseOf, UnaryCallName } from "@keelson/cri/service.ts";
import { waitFor } from "@keelson/testkit/wait.ts";
import { type Caller, FailureNoted } from "./caller.ts";
import { gateway } from "./network.ts";
import { NumberedLog } from "./numbered-log.ts";
import { numberedJob, numberedWriter, stoppedExitCode } from "./numbered-writer.ts";
import type { Random } from "./random.ts";
import { pause } from "./sampler.ts";
import type { SoakImages } from "./soak-images.ts";
import { podCgroup } from "./soak-node.ts";
import type { World } from "./world.ts";

const { POD, CONTAINER, NODE } = NamespaceMode;
const podPort = 8080;
const firstHostPort = 20_000;
const graceSeconds = 20n;

/** The share of calls whose client goes away and comes back. */
const leaveChance = 0.08;

const kinds = ["plain", "plain", "host port", "shared PID", "host network"] as const;
type Kind = (typeof kinds)[number];

interface Pod {
  readonly id: string;
  readonly config: PodSandboxConfig;
  readonly kind: Kind;
}

interface Container {
  readonly id: string;
  readonly config: ContainerConfig;
  readonly logPath: string;
  readonly log: NumberedLog;
}

export interface SlotOptions {
  readonly number: number;
  readonly caller: Caller;
  readonly world: World;
  readonly random: Random;
  readonly images: SoakImages;
  /** The directory of the containers' logs. */
  readonly dir: string;
  /** Runtime handlers of its pods, in turns; empty for only the default. */
  readonly handlers: readonly string[];
  /** One pod until the end, with a container that writes 2,000 lines a second, instead of one pod after the other. */
  readonly isPermanent: boolean;
}

/** A place on the node for one pod after the other. Each goes through all that a kubelet does with pods. */
export class Slot {
  readonly #o: SlotOptions;
  /** How many pods and containers were named, so that names are unique. */
  #made = 0;

  constructor(options: SlotOptions) {
    this.#o = options;
  }

  /** Runs until the signal aborts; then the last pod is taken down as usual. */
  async run(signal: AbortSignal): Promise<void> {
    const { caller, random, world } = this.#o;
    // The slots do not start all at once.
    if (!(await pause(random.between(0, 3000), signal))) return;
    while (!signal.aborted) {
      const name = `slot-${this.#o.number}-${(this.#made += 1)}`;
      world.ownedPods.add(name);
      try {
        await this.#livePod(name, signal);
      } catch (error) {
        if (!(error instanceof FailureNoted)) caller.ledger.fail("the soak itself", name, error);
        if (!(await pause(2000, signal))) break;
      } finally {
        // The housekeeper removes what a failure left.
        world.ownedPods.delete(name);
      }
    }
  }

  async #livePod(name: string, signal: AbortSignal): Promise<void> {
    const { random, world, images, isPermanent, number } = this.#o;
    const kind: Kind = isPermanent ? "plain" : random.pick(kinds);
    const config = this.#podConfig(name, kind);
    const hasOwnImage = !isPermanent && random.chance(0.25);
    const image = hasOwnImage ? images.ofSlots[number]! : images.busybox;
    if (hasOwnImage) await this.#call("pullImage", PullImageRequest.fromPartial({ image: { image } }));
    const pod = await this.#runPod(config, kind);
    if (pod === undefined) return;
    const containers: Container[] = [];
    try {
      const scripts = [this.#writer(kind), ...(random.chance(0.3) ? [numberedWriter(10, 1)] : [])];
      for (const script of scripts) containers.push(await this.#startWriter(pod, image, script));
      if (hasOwnImage && random.chance(0.5)) await this.#removeImage(image); // its containers keep running
      if (kind === "host port") await this.#fetchPage(`http://${gateway}:${firstHostPort + number}/`);
      for (let steps = isPermanent ? Infinity : random.whole(5, 15); steps > 0 && !signal.aborted; steps--) {
        if (await pause(random.between(300, 2500), signal)) await this.#step(pod, image, containers);
      }
    } finally {
      world.readyPods.delete(pod.id);
      for (const { id } of containers) world.runningContainers.delete(id);
    }
    await this.#removePod(pod, containers);
    if (hasOwnImage) await this.#removeImage(image);
    rmSync(pod.config.logDirectory, { recursive: true, force: true });
  }

  #writer(kind: Kind): string {
    if (this.#o.isPermanent) return numberedWriter(2000, 1);
    const burst = this.#o.random.pick([5, 20, 20, 500]);
    return numberedWriter(
      burst,
      1,
      kind === "host port" ? `mkdir -p /www; echo "$HOSTNAME" >/www/index.html; httpd -p ${podPort} -h /www` : "",
    );
  }

  #podConfig(name: string, kind: Kind): PodSandboxConfig {
    const hostPort = firstHostPort + this.#o.number;
    return PodSandboxConfig.fromPartial({
      metadata: { name, uid: `uid-${name}`, namespace: "soak", attempt: 0 },
      hostname: kind === "host network" ? "" : name,
      logDirectory: join(this.#o.dir, "logs", name),
      labels: {
        "io.kubernetes.pod.name": name,
        "io.kubernetes.pod.namespace": "soak",
        "io.kubernetes.pod.uid": `uid-${name}`,
      },
      portMappings: kind === "host port" ? [{ containerPort: podPort, hostPort }] : [],
      linux: {
        cgroupParent: `/${podCgroup}`,
        securityContext: {
          namespaceOptions: {
            pid: kind === "shared PID" ? POD : CONTAINER,
            network: kind === "host network" ? NODE : POD,
          },
        },
      },
    });
  }

  /** Undefined when the client went away for good: the pod may come up or not, and the housekeeper removes it. */
  async #runPod(config: PodSandboxConfig, kind: Kind): Promise<Pod | undefined> {
    const { random, caller, world, isPermanent, handlers, number } = this.#o;
    const request = RunPodSandboxRequest.fromPartial({
      config,
      runtimeHandler: handlers[(number + this.#made) % handlers.length] ?? "",
    });
    if (!isPermanent && random.chance(0.04)) {
      const outcome = await caller.attempt("runPodSandbox", request, random.between(0, 300));
      if (outcome.is === "refused") caller.fail("runPodSandbox", request, outcome.error);
      if (outcome.is !== "answered") return undefined;
    }
    const { podSandboxId: id } = await this.#call("runPodSandbox", request);
    world.readyPods.add(id);
    const { status } = await caller.call("podSandboxStatus", PodSandboxStatusRequest.fromPartial({ podSandboxId: id }));
    const hasAddress = (status?.network?.ip ?? "") !== "";
    const isRight = status?.state === PodSandboxState.SANDBOX_READY && hasAddress === (kind !== "host network");
    caller.expect(
      isRight,
      "a pod that was run is READY, with an address when its network is its own",
      { id, kind },
      () => JSON.stringify(status?.network),
    );
    return { id, config, kind };
  }

  async #startContainer(pod: Pod, image: string, script: string): Promise<Container> {
    const { caller, world } = this.#o;
    const name = `container-${(this.#made += 1)}`;
    const config = ContainerConfig.fromPartial({
      metadata: { name, attempt: 0 },
      image: { image },
      command: ["sh", "-c", script],
      envs: [{ key: "HOSTNAME", value: Buffer.from(pod.config.metadata!.name) }],
      logPath: `${name}.log`,
      labels: { "io.kubernetes.container.name": name, ...pod.config.labels },
      linux: { securityContext: { namespaceOptions: pod.config.linux!.securityContext!.namespaceOptions! } },
    });
    const request = CreateContainerRequest.fromPartial({ podSandboxId: pod.id, config, sandboxConfig: pod.config });
    const { containerId: id } = await this.#call("createContainer", request);
    await this.#start(id);
    world.runningContainers.add(id);
    const logPath = join(pod.config.logDirectory, config.logPath);
    caller.expect(
      existsSync(logPath),
      "a started container has its log",
      { id, logPath },
      () => "there is no such file",
    );
    return { id, config, logPath, log: new NumberedLog() };
  }

  /** Starts a writer, and waits until it handles SIGTERM. */
  async #startWriter(pod: Pod, image: string, script: string): Promise<Container> {
    const container = await this.#startContainer(pod, image, script);
    await waitFor(() => statSync(container.logPath).size > 0, {
      timeoutMs: 30_000,
      message: `container ${container.id} writes nothing`,
    });
    return container;
  }

  /** A kubelet that gets no answer does not start a container again: it checks whether it is running. */
  async #start(containerId: string): Promise<void> {
    const { caller, random } = this.#o;
    const request = StartContainerRequest.fromPartial({ containerId });
    for (
      let leaveAfterMs = random.chance(leaveChance) ? random.between(0, 60) : undefined;
      ;
      leaveAfterMs = undefined
    ) {
      const outcome = await caller.attempt("startContainer", request, leaveAfterMs);
      if (outcome.is === "answered") return;
      const { state } = await this.#containerStatus(containerId);
      if (state !== ContainerState.CONTAINER_CREATED) return;
      if (outcome.is === "refused") caller.fail("startContainer", request, outcome.error);
    }
  }

  async #step(pod: Pod, image: string, containers: Container[]): Promise<void> {
    const { random, isPermanent } = this.#o;
    const container = random.pick(containers);
    const choice = random.fraction();
    if (choice < 0.3) return this.#execBurst(container);
    if (choice < 0.35) return this.#execAndLeave(container);
    if (choice < 0.38) return this.#execTooLong(container);
    if (choice < 0.5) return this.#rotate(container);
    if (choice < 0.65) return this.#runJob(pod, image);
    if (choice < 0.75 && !isPermanent) {
      // The slot's own image, if removed, is pulled again, like a kubelet with IfNotPresent does.
      if (image !== this.#o.images.busybox)
        await this.#call("pullImage", PullImageRequest.fromPartial({ image: { image } }));
      containers.splice(containers.indexOf(container), 1, await this.#restart(pod, image, container));
      return;
    }
    const status = await this.#containerStatus(container.id);
    this.#o.caller.expect(
      status.state === ContainerState.CONTAINER_RUNNING,
      "a container keeps running",
      { id: container.id },
      () => describe(status),
    );
  }

  async #execBurst({ id }: Container): Promise<void> {
    const { caller, random } = this.#o;
    for (let left = random.whole(3, 8); left > 0; left--) {
      const word = `${id.slice(0, 8)}-${left}`;
      const request = ExecSyncRequest.fromPartial({
        containerId: id,
        cmd: ["sh", "-c", `echo ${word}; echo err >&2; exit 3`],
        timeout: 30n,
      });
      const { stdout, stderr, exitCode } = await caller.call("execSync", request);
      const answer = `${exitCode} ${Buffer.from(stdout).toString()}${Buffer.from(stderr).toString()}`;
      caller.expect(answer === `3 ${word}\nerr\n`, "the output of ExecSync", request, () => answer);
    }
  }

  async #execAndLeave({ id }: Container): Promise<void> {
    const { caller, random } = this.#o;
    const request = ExecSyncRequest.fromPartial({ containerId: id, cmd: ["sleep", "60"] });
    const outcome = await caller.attempt("execSync", request, random.between(0, 400));
    if (outcome.is === "refused") caller.fail("execSync", request, outcome.error);
    caller.expect(outcome.is !== "answered", "ExecSync of sleep 60", request, () => "it ended within 400 ms");
  }

  async #execTooLong({ id }: Container): Promise<void> {
    const { caller } = this.#o;
    const request = ExecSyncRequest.fromPartial({ containerId: id, cmd: ["sleep", "60"], timeout: 1n });
    const outcome = await caller.attempt("execSync", request);
    const isRight =
      outcome.is === "cut" || (outcome.is === "refused" && codeOf(outcome.error) === Code.DeadlineExceeded);
    caller.expect(isRight, "ExecSync with a timeout of 1 s is DeadlineExceeded", request, () =>
      outcome.is === "refused" ? messageOf(outcome.error) : outcome.is,
    );
  }

  /** Rotates like a kubelet: moves the file away and has the log reopened. Then the old file must be complete. */
  async #rotate({ id, logPath, log }: Container): Promise<void> {
    const rotated = `${logPath}.rotated`;
    renameSync(logPath, rotated);
    await this.#call("reopenContainerLog", ReopenContainerLogRequest.fromPartial({ containerId: id }));
    this.#o.caller.expect(
      existsSync(logPath),
      "ReopenContainerLog creates the file",
      { id, logPath },
      () => "there is no such file",
    );
    await this.#readLog(id, log, rotated);
    rmSync(rotated);
  }

  /** Runs a container that writes some thousand lines at once and ends by itself. */
  async #runJob(pod: Pod, image: string): Promise<void> {
    const { caller, random, images, world } = this.#o;
    const lines = random.pick([1, 1000, 5000]);
    const exitCode = random.pick([0, 3]);
    // The slot's own image may have been removed.
    const { id, log, logPath } = await this.#startContainer(
      pod,
      image === images.busybox ? image : images.busybox,
      numberedJob(lines, exitCode),
    );
    world.runningContainers.delete(id);
    const status = await waitFor(
      async () => {
        const status = await this.#containerStatus(id);
        return status.state === ContainerState.CONTAINER_EXITED
          ? status
          : (await pause(200, AbortSignal.timeout(60_000)), undefined);
      },
      { timeoutMs: 60_000, message: `the job ${id} has not ended` },
    );
    caller.expect(status.exitCode === exitCode, `a job that ends with ${exitCode}`, { id }, () => describe(status));
    await this.#readLog(id, log, logPath);
    caller.expect(
      log.hasEnded && log.lines === lines,
      `the log of a job that writes ${lines} lines and an end`,
      { id, logPath },
      () => `${log.lines} lines, ${log.hasEnded ? "with" : "without"} the end`,
    );
    await this.#call("removeContainer", RemoveContainerRequest.fromPartial({ containerId: id }));
    rmSync(logPath);
  }

  async #restart(pod: Pod, image: string, container: Container): Promise<Container> {
    await this.#stopContainer(container);
    await this.#call("removeContainer", RemoveContainerRequest.fromPartial({ containerId: container.id }));
    rmSync(container.logPath);
    // Without a page: it is fetched only once.
    return this.#startWriter(pod, image, this.#writer("plain"));
  }

  /** Stops a container with a grace period: its last line must be in the log. */
  async #stopContainer({ id, log, logPath }: Container): Promise<void> {
    const { caller, world } = this.#o;
    world.runningContainers.delete(id);
    await this.#call("stopContainer", StopContainerRequest.fromPartial({ containerId: id, timeout: graceSeconds }));
    const status = await this.#containerStatus(id);
    const isRight = status.state === ContainerState.CONTAINER_EXITED && status.exitCode === stoppedExitCode;
    caller.expect(isRight, `a stopped container has EXITED with ${stoppedExitCode}`, { id }, () => describe(status));
    await this.#readLog(id, log, logPath);
    caller.expect(
      log.hasEnded,
      "the last line of a stopped container is in its log",
      { id, logPath },
      () => `its last line is line ${log.lines}`,
    );
  }

  async #removePod(pod: Pod, containers: readonly Container[]): Promise<void> {
    const { random } = this.#o;
    const way = random.pick(["containers first", "containers first", "pod", "at once"] as const);
    if (way === "containers first") {
      for (const container of containers) {
        await this.#stopContainer(container);
        if (random.chance(0.7))
          await this.#call("removeContainer", RemoveContainerRequest.fromPartial({ containerId: container.id }));
      }
    }
    if (way !== "at once")
      await this.#call("stopPodSandbox", StopPodSandboxRequest.fromPartial({ podSandboxId: pod.id }));
    if (way === "pod") for (const { id, log, logPath } of containers) await this.#readLog(id, log, logPath);
    await this.#call("removePodSandbox", RemovePodSandboxRequest.fromPartial({ podSandboxId: pod.id }));
  }

  /** RemoveImage by name, like image garbage collection. */
  async #removeImage(image: string): Promise<void> {
    await this.#call("removeImage", RemoveImageRequest.fromPartial({ image: { image } }));
  }

  async #fetchPage(url: string): Promise<void> {
    const { caller } = this.#o;
    try {
      await waitFor(
        async () => {
          try {
            return (await fetch(url, { signal: AbortSignal.timeout(2000) })).ok;
          } catch {
            return false; // nobody listens yet
          }
        },
        { message: `${url} does not answer` },
      );
    } catch (error) {
      caller.fail("a host port leads into its pod", url, error);
    }
  }

  async #readLog(id: string, log: NumberedLog, path: string): Promise<void> {
    try {
      await log.read(path);
    } catch (error) {
      this.#o.caller.fail("every line is in the log, in order", { id, path }, error);
    }
  }

  async #containerStatus(containerId: string): Promise<ContainerStatus> {
    const { status } = await this.#o.caller.call(
      "containerStatus",
      ContainerStatusRequest.fromPartial({ containerId }),
    );
    return status!;
  }

  /** Makes a call; some clients go away during it and make it again. */
  #call<N extends UnaryCallName>(name: N, request: RequestOf<N>): Promise<ResponseOf<N>> {
    const { caller, random } = this.#o;
    return random.chance(leaveChance)
      ? caller.callTwice(name, request, random.between(0, 250))
      : caller.call(name, request);
  }
}

function describe({ state, exitCode, reason, message }: ContainerStatus): string {
  return `state ${state}, exit code ${exitCode}, ${reason} ${message}`;
}
