import assert from "node:assert/strict";
import { messageOf } from "@keelson/base/status.ts";
import { PodSandboxState, ContainerState } from "@keelson/cri/gen/runtime/v1/api.ts";
import { linesOf, logSoFar } from "@keelson/testkit/cri-log.ts";
import { waitFor } from "@keelson/testkit/wait.ts";
import type { CrashNode } from "./crash-node.ts";
import { disagreements } from "./reality.ts";

/** Writes 1, 2, 3 … */
export const counterScript = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done";

/** A call that is cut off, and what comes before and after it. */
export interface Scenario<T> {
  prepare(crash: CrashNode): Promise<T>;
  /** The call under test, as a client makes it. */
  call(crash: CrashNode, prepared: T): Promise<unknown>;
  /** What a kubelet does after the daemon is back, with its checks. */
  retry(crash: CrashNode, prepared: T): Promise<unknown>;
  /** Takes away what the round made. */
  finish(crash: CrashNode, prepared: T): Promise<unknown>;
}

/** A pod with a container that counts in its log, which nothing that happens to others may disturb. */
export class Bystander {
  readonly #crash: CrashNode;
  readonly podId: string;
  readonly #containerId: string;
  readonly #logPath: string;
  readonly #startedAt: bigint;
  readonly #pid: number;
  readonly #ip: string;

  private constructor(
    crash: CrashNode,
    ids: { podId: string; containerId: string },
    is: { logPath: string; startedAt: bigint; pid: number; ip: string },
  ) {
    this.#crash = crash;
    this.podId = ids.podId;
    this.#containerId = ids.containerId;
    this.#logPath = is.logPath;
    this.#startedAt = is.startedAt;
    this.#pid = is.pid;
    this.#ip = is.ip;
  }

  static async start(crash: CrashNode): Promise<Bystander> {
    const pod = await crash.runPod({ portMappings: [{ containerPort: 80, hostPort: 18080, protocol: 0 }] });
    const containerId = await crash.runContainer(pod, counterScript);
    const { logPath, startedAt } = await crash.containerStatus(containerId);
    const { pid } = await crash.containerInfo(containerId);
    const { network } = await crash.podStatus(pod.id);
    return new Bystander(crash, { podId: pod.id, containerId }, { logPath, startedAt, pid, ip: network!.ip });
  }

  /** Runs as before, has logged every number in order, and goes on. */
  async check(): Promise<void> {
    const lines = linesOf(logSoFar(this.#logPath));
    assert.deepEqual(
      lines,
      lines.map((_, i) => String(i + 1)),
    );
    const { state, startedAt } = await this.#crash.containerStatus(this.#containerId);
    assert.deepEqual([state, startedAt], [ContainerState.CONTAINER_RUNNING, this.#startedAt]);
    assert.equal((await this.#crash.containerInfo(this.#containerId)).pid, this.#pid);
    const pod = await this.#crash.podStatus(this.podId);
    assert.deepEqual([pod.state, pod.network!.ip], [PodSandboxState.SANDBOX_READY, this.#ip]);
    await waitFor(() => linesOf(logSoFar(this.#logPath)).length > lines.length, {
      message: "the other container has stopped logging",
    });
  }
}

/**
 * Kills the daemon at the first point of a call, then at the second, and so on until the call passes; each time the
 * daemon must come back to a machine that is as it says, and the retry must succeed. It is not killed at the points of
 * `passed`. Returns the names of the points. A round that goes wrong is told with the point's name, and the next one goes
 * on.
 */
export async function crashEverywhere<T>(
  crash: CrashNode,
  bystander: Bystander,
  scenario: Scenario<T>,
  passed: readonly string[],
): Promise<string[]> {
  const points: string[] = [];
  const failures: string[] = [];
  while (failures.length < 5) {
    const prepared = await scenario.prepare(crash);
    crash.arm([...passed, ...points]);
    const outcome = await scenario.call(crash, prepared).then(() => "ok", String);
    const died = await crash.diedAt(outcome === "ok" ? 100 : 5000);
    crash.disarm();
    if (died === undefined) {
      assert.equal(outcome, "ok");
      await scenario.finish(crash, prepared);
      break;
    }
    points.push(died);
    await crash.startAgain();
    const startedAtMs = performance.now();
    const failure = await checkRound(crash, bystander, () => scenario.retry(crash, prepared));
    const ms = performance.now() - startedAtMs;
    if (failure === undefined && ms > 20_000)
      failures.push(`killed at ${died}: the retry took ${Math.round(ms)} ms\n${crash.daemonLog()}`);
    if (failure !== undefined) failures.push(`killed at ${died}: ${failure}`);
    await scenario.finish(crash, prepared);
    assert.ok(points.length < 200, `the call does not come to its end: ${points.join("\n")}`);
  }
  if (failures.length > 0) assert.fail(failures.join("\n\n"));
  await assertAgrees(crash);
  return points;
}

/** What is wrong after a restart, if anything. */
async function checkRound(
  crash: CrashNode,
  bystander: Bystander,
  retry: () => Promise<unknown>,
): Promise<string | undefined> {
  let stage = "after the restart";
  try {
    await bystander.check();
    await assertAgrees(crash);
    stage = "in the retry";
    await retry();
    stage = "after the retry";
    await assertAgrees(crash);
    return undefined;
  } catch (error) {
    return `${stage}: ${messageOf(error)}`;
  }
}

export async function assertAgrees(crash: CrashNode): Promise<void> {
  const wrong = await disagreements(crash);
  assert.ok(wrong.length === 0, wrong.join("\n"));
}
