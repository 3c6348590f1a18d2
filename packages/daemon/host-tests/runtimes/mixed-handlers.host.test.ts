// All runtime handlers on one node at once: pods that come and go, a daemon that is killed, runtimes that hang and crash.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { ContainerState, PodSandboxState } from "@keelson/cri/gen/runtime/v1/api.ts";
import { linesOf, logSoFar, parseLog } from "@keelson/testkit/cri-log.ts";
import { skip } from "@keelson/testkit/host-sandbox.ts";
import { runtimeHandlers } from "@keelson/testkit/runtime-handlers.ts";
import { waitFor } from "@keelson/testkit/wait.ts";
import { guestHandler } from "../testing/guest-handler.ts";
import { MortalDaemon } from "../testing/mortal-daemon.ts";
import { keelctl, type Pod, TestNode } from "../testing/test-node.ts";

const podCount = 30;
/** Pods that are being made or removed at a time. */
const width = 5;
const kills = 3;
/** Pods replaced between one kill and the next, and before and after. */
const replacedBetween = 6;

/** Writes 1, 2, 3 … until it is asked to end, and then how far it came. */
const counter = "i=0; trap 'echo end $i; exit 7' TERM; while :; do i=$((i+1)); echo $i; sleep 0.5 & wait $!; done";

interface CountingPod {
  readonly handler: string;
  readonly pod: Pod;
  readonly containerId: string;
  readonly logPath: string;
  readonly startedAt: bigint;
}

/** Pods with a counting container each; whoever is in `all` must run. */
class CountingPods {
  readonly all = new Set<CountingPod>();
  readonly #node: TestNode;
  readonly #daemon: MortalDaemon;

  constructor(node: TestNode, daemon: MortalDaemon) {
    this.#node = node;
    this.#daemon = daemon;
  }

  async start(handler: string): Promise<void> {
    // By a new name each time: what an interrupted attempt leaves is nobody's.
    const { pod, containerId } = await this.#daemon.insist(async () => {
      const pod = await this.#node.runPod({}, handler);
      return { pod, containerId: await this.#node.runContainer(pod, counter) };
    });
    const { logPath, startedAt } = await this.#daemon.insist(() => this.#node.containerStatus(containerId));
    await waitFor(() => logSoFar(logPath).length > 0, {
      timeoutMs: 30_000,
      message: `${containerId} of ${handler} logs nothing`,
    });
    this.all.add({ handler, pod, containerId, logPath, startedAt });
  }

  async probe({ handler, containerId }: CountingPod): Promise<void> {
    const { stdout, stderr, exitCode } = await this.#daemon.insist(() =>
      this.#node.exec(containerId, "echo out; echo err >&2; exit 3"),
    );
    assert.deepEqual([stdout, stderr, exitCode], ["out\n", "err\n", 3], handler);
  }

  /** Stops and removes; all that the container wrote must be in its log, in order. */
  async finish(one: CountingPod): Promise<void> {
    const { handler, pod, containerId, logPath } = one;
    this.all.delete(one);
    await this.#daemon.insist(() => this.#node.stopContainer(containerId, 20));
    const { state, exitCode } = await this.#daemon.insist(() => this.#node.containerStatus(containerId));
    assert.deepEqual([state, exitCode], [ContainerState.CONTAINER_EXITED, 7], `${containerId} of ${handler}`);
    const lines = linesOf(parseLog(readFileSync(logPath, "utf8")));
    assert.deepEqual(
      lines,
      [...lines.slice(1).map((_, i) => String(i + 1)), `end ${lines.length - 1}`],
      `the log of ${containerId} of ${handler}`,
    );
    await this.#daemon.insist(() => this.#node.removePod(pod.id));
  }

  async replace(one: CountingPod): Promise<void> {
    await this.probe(one);
    await this.finish(one);
    await this.start(one.handler);
  }

  /** All of them run as they were started, by the handler that each was started with. */
  async check(): Promise<void> {
    const expected = new Set(this.all);
    const { items } = await this.#node.call("listPodSandbox", { filter: undefined });
    const ready = new Map(
      items
        .filter(({ state }) => state === PodSandboxState.SANDBOX_READY)
        .map(({ id, runtimeHandler }) => [id, runtimeHandler]),
    );
    for (const { handler, pod, containerId, startedAt } of expected) {
      assert.equal(ready.get(pod.id), handler, `pod ${pod.id} is ready`);
      const status = await this.#node.containerStatus(containerId);
      assert.deepEqual(
        [status.state, status.startedAt],
        [ContainerState.CONTAINER_RUNNING, startedAt],
        `${containerId} of ${handler} runs`,
      );
    }
  }

  /** Who runs where, as `keelctl ps` has it. */
  async checkShown(): Promise<void> {
    const { NODE_TEST_CONTEXT: _, ...env } = process.env;
    const { stdout } = await promisify(execFile)(
      keelctl,
      ["-r", this.#node.endpoint, "ps", "-o", "wide", "--no-trunc"],
      { env },
    );
    const [titles, ...rows] = stdout
      .trimEnd()
      .split("\n")
      .map((line) => line.trim().split(/ {2,}/));
    assert.deepEqual([titles!.at(0), titles!.at(-1)], ["CONTAINER", "HANDLER"]);
    assert.deepEqual(
      new Map(rows.map((cells) => [cells[0], cells.at(-1)])),
      new Map([...this.all].map(({ containerId, handler }) => [containerId, handler])),
    );
  }
}

test(
  "thirty pods of all handlers come and go through kills of the daemon, and one that hangs or crashes holds up no other",
  { skip },
  async (t) => {
    const dir = mkdtempSync("/run/keelson-mixed-");
    t.after(() => rmSync(dir, { recursive: true }));
    const known = runtimeHandlers();
    for (const { name, missing } of known) if (missing !== false) t.diagnostic(`without ${name}: ${missing}`);
    const present = known.filter(({ missing }) => missing === false);
    const handlers = [...present.map(({ name }) => name), "crun-pod", "guest"];
    const hung = join(dir, "hung");
    /** A runtime that does `onCreate` and else is crun. */
    const section = (name: string, onCreate: string) => {
      writeFileSync(join(dir, name), `#!/bin/sh\ncase " $* " in *" create "*) ${onCreate} ;; esac\nexec crun "$@"\n`, {
        mode: 0o755,
      });
      return `[runtimes.${name}]\npath = "${join(dir, name)}"\n`;
    };
    const config = [
      ...present.map((handler) => handler.section),
      guestHandler(dir),
      '[runtimes.crun-pod]\npath = "crun"\nsandbox = "container"\n',
      section("hanging", `>${hung}; exec sleep 4325`),
      section("crashing", "kill -SEGV $$"),
    ];
    await using node = await TestNode.start({ config: config.join("") });
    const before = node.leftBehind(0);
    const daemon = new MortalDaemon(node);
    const pods = new CountingPods(node, daemon);
    await severalAtATime(
      Array.from({ length: podCount }, (_, i) => handlers[i % handlers.length]!),
      (handler) => pods.start(handler),
    );
    await pods.checkShown();

    const crashing = await node.runPod({}, "crashing");
    const hanging = await node.runPod({}, "hanging");
    let isPending = true;
    const failing = assert.rejects(node.createContainer(hanging, "true")).finally(() => (isPending = false));
    await waitFor(() => existsSync(hung), { message: "the runtime that is to hang was not called" });
    await assert.rejects(node.createContainer(crashing, "true"), /with crashing \(/);
    await severalAtATime(
      handlers.map((name) => [...pods.all].find(({ handler }) => handler === name)!),
      (one) => pods.replace(one),
    );
    assert.ok(isPending, "the others had to wait for the handler that hangs");

    let replaced = 0;
    const replace = async (one: CountingPod) => {
      await pods.replace(one);
      replaced++;
    };
    const kill = async () => {
      for (let killed = 0; killed < kills; killed++) {
        await waitFor(() => replaced >= (killed + 1) * replacedBetween, {
          timeoutMs: 120_000,
          message: `only ${replaced} pods were replaced`,
        });
        await daemon.restart(() => pods.check());
      }
    };
    await Promise.all([severalAtATime([...pods.all].slice(0, (kills + 1) * replacedBetween), replace), kill()]);
    await failing; // the first kill ended it
    await pods.check();
    assert.equal(pods.all.size, podCount);
    await severalAtATime([...pods.all], (one) => pods.probe(one));

    const wanted = new Set([...pods.all].map(({ pod }) => pod.id));
    const abandoned = (await node.call("listPodSandbox", { filter: undefined })).items.filter(
      ({ id }) => !wanted.has(id),
    );
    assert.deepEqual(new Set([crashing.id, hanging.id]).difference(new Set(abandoned.map(({ id }) => id))), new Set());
    await severalAtATime(abandoned, ({ id }) => node.removePod(id));
    await pods.checkShown();
    await severalAtATime([...pods.all], (one) => pods.finish(one));

    const empty = await Promise.all([
      node.call("listPodSandbox", { filter: undefined }),
      node.call("listContainers", { filter: undefined }),
    ]);
    assert.deepEqual(empty, [{ items: [] }, { containers: [] }]);
    assert.deepEqual(node.leftBehind(), before);
    assert.deepEqual(node.remains(), []);
  },
);

/** Calls `body` for each, `width` at a time. */
async function severalAtATime<T>(items: readonly T[], body: (item: T) => Promise<void>): Promise<void> {
  const left = items.values();
  await Promise.all(
    Array.from({ length: width }, async () => {
      for (const item of left) await body(item);
    }),
  );
}
