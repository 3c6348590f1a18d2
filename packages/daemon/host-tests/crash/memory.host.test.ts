// The daemon's own cgroup has little more memory than it needs to be there, and then less than that.
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Code, codeName, StatusError } from "@keelson/base/status.ts";
import { ContainerState } from "@keelson/cri/gen/runtime/v1/api.ts";
import { controllerDir, detectCgroups } from "@keelson/linux/cgroup.ts";
import { linesOf, logSoFar } from "@keelson/testkit/cri-log.ts";
import { skip } from "@keelson/testkit/host-sandbox.ts";
import { randomImage } from "@keelson/testkit/image.ts";
import { imageSpec } from "../testing/test-node.ts";
import { CrashNode } from "./testing/crash-node.ts";
import { assertAgrees, Bystander, counterScript } from "./testing/crash-rounds.ts";

const mebibyte = 1024 * 1024;

/** A cgroup whose processes share so much memory, beside what they had before they came. Empty when it is disposed of. */
class LimitedCgroup implements Disposable {
  readonly #dir: string;

  readonly #isV2: boolean;

  constructor() {
    const dir = controllerDir(detectCgroups(), "/limited-keelsond", "memory");
    assert.ok(dir !== undefined, "this machine has no memory controller");
    mkdirSync(dir);
    this.#dir = dir;
    this.#isV2 = existsSync(join(dir, "memory.max"));
  }

  take(pid: number): void {
    writeFileSync(join(this.#dir, "cgroup.procs"), String(pid));
  }

  limit(bytes: number): void {
    if (this.#isV2) return writeFileSync(join(this.#dir, "memory.max"), String(bytes));
    // v1 refuses a limit below what cannot be given up.
    const usedBytes = Number(readFileSync(join(this.#dir, "memory.usage_in_bytes"), "utf8"));
    writeFileSync(join(this.#dir, "memory.limit_in_bytes"), String(Math.max(bytes, usedBytes + mebibyte)));
  }

  /** How many processes the kernel has killed in it. */
  get kills(): number {
    const text = readFileSync(join(this.#dir, this.#isV2 ? "memory.events" : "memory.oom_control"), "utf8");
    return Number(/^oom_kill (\d+)$/m.exec(text)![1]);
  }

  /** Monitors stay in the cgroup of the daemon that started them. */
  [Symbol.dispose](): void {
    const parent = join(this.#dir, "..", this.#isV2 ? "init" : "");
    for (const pid of readFileSync(join(this.#dir, "cgroup.procs"), "utf8").split("\n").filter(Boolean))
      writeFileSync(join(parent, "cgroup.procs"), pid);
    rmdirSync(this.#dir);
  }
}

test(
  "a daemon short of memory answers or is killed for it; containers go on, and the next one finds them",
  { skip },
  async () => {
    await using crash = await CrashNode.start();
    const bystander = await Bystander.start(crash);
    const pod = await crash.runPod();
    const counting = await crash.runContainer(pod, counterScript);
    const huge = { huge: "x".repeat(10 * mebibyte) };
    let images = 0;
    const pull = async () => {
      const content = randomImage({ seed: (images += 1), layers: 1, bytes: 8 * mebibyte });
      const image = crash.node.registry.add("test/large", `v${images}`, content);
      await crash.pull(image);
      await crash.call("removeImage", { image: imageSpec(image) });
    };
    const create = async () => {
      await crash.removeContainer(await crash.createContainer(pod, crash.node.containerConfig("true")));
    };
    const list = () =>
      Promise.all([
        crash.call("listContainers", { filter: undefined }),
        crash.call("listPodSandbox", { filter: undefined }),
      ]);
    const badInput = () =>
      crash.call("runPodSandbox", { config: { ...crash.node.podConfig(), labels: huge }, runtimeHandler: "" });
    const work = { pull, create, list, badInput };
    /** Every error that came of some rounds of everything at once. */
    const errorsOf = async (rounds: number, times: number) => {
      const errors: { name: string; error: StatusError }[] = [];
      for (let round = 0; round < rounds && existsSync(`/proc/${crash.pid}`); round += 1) {
        const calls = Object.entries(work).flatMap(([name, call]) =>
          Array.from({ length: times }, () =>
            call().catch((error: unknown) => {
              assert.ok(error instanceof StatusError, `${name}: ${String(error)}`);
              errors.push({ name, error });
            }),
          ),
        );
        await Promise.all(calls);
      }
      return errors;
    };

    // Loaded and compiled before: the limit is on what comes on top.
    await errorsOf(1, 1);
    using limited = new LimitedCgroup();
    limited.limit(128 * mebibyte);
    limited.take(crash.pid);
    for (const { name, error } of await errorsOf(3, 1)) {
      const expected: Code = name === "badInput" ? Code.InvalidArgument : Code.ResourceExhausted;
      assert.equal(codeName(error.code), codeName(expected), `${name}: ${error.message}`);
    }
    assert.equal(limited.kills, 0, "128 MiB over its idle use are not enough for the daemon");

    // Less than the messages alone that it is sent now.
    const logged = linesOf(logSoFar((await crash.containerStatus(counting)).logPath)).length;
    limited.limit(48 * mebibyte);
    const errors = await errorsOf(10, 6);
    await crash.untilDead();
    assert.ok(limited.kills > 0, "something else than the kernel has killed it");
    for (const { name, error } of errors) {
      const known: Code[] = [Code.Unavailable, Code.InvalidArgument, Code.ResourceExhausted, Code.Cancelled];
      assert.ok(known.includes(error.code), `${name}: ${codeName(error.code)} ${error.message}`);
    }
    await sleep(200);
    await crash.startAgain();
    const { state, logPath } = await crash.containerStatus(counting);
    assert.equal(state, ContainerState.CONTAINER_RUNNING);
    const numbers = linesOf(logSoFar(logPath));
    assert.deepEqual(
      numbers,
      numbers.map((_, i) => String(i + 1)),
    );
    assert.ok(numbers.length > logged + 5, "it stopped logging without its daemon");
    await bystander.check();
    const { containers } = await crash.call("listContainers", { filter: undefined });
    for (const { id } of containers.filter((container) => container.state === ContainerState.CONTAINER_CREATED))
      await crash.removeContainer(id);
    await assertAgrees(crash);
    assert.deepEqual(
      (await errorsOf(1, 1)).map(({ name }) => name),
      ["badInput"],
    );
    await assertAgrees(crash);
    await crash.removePod(pod.id);
  },
);
