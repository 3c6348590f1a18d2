// A machine that has run out: of disk, of inodes, of room in /run, of file descriptors, of time, of its tools.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  closeSync,
  copyFileSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { Code, codeName, codeOf, messageOf, StatusError } from "@keelson/base/status.ts";
import { ContainerState } from "@keelson/cri/gen/runtime/v1/api.ts";
import { skip } from "@keelson/testkit/host-sandbox.ts";
import { makeImage, makeLayer } from "@keelson/testkit/image.ts";
import { file } from "@keelson/testkit/tar.ts";
import { waitFor } from "@keelson/testkit/wait.ts";
import { eachRuntime, testFor } from "../testing/each-runtime.ts";
import { imageSpec, rejectsWith, TestNode } from "../testing/test-node.ts";

/** Puts the node's `root` or `state` on a small file system of its own until disposed of; then no pod may be left. */
async function onSmallDisk(node: TestNode, part: "root" | "state", options: string): Promise<AsyncDisposable> {
  await node.stop();
  const dir = join(node.dir, part);
  renameSync(dir, `${dir}.large`);
  mkdirSync(dir);
  execFileSync("mount", ["-t", "tmpfs", "-o", `mode=700,${options}`, "tmpfs", dir]);
  execFileSync("cp", ["-a", `${dir}.large/.`, dir]);
  await node.startAgain();
  return {
    async [Symbol.asyncDispose]() {
      rmSync(join(dir, "fill"), { recursive: true, force: true });
      const { items } = await node.call("listPodSandbox", { filter: undefined });
      for (const { id } of items) await node.removePod(id);
      await node.stop();
      execFileSync("umount", [dir]);
      rmdirSync(dir);
      renameSync(`${dir}.large`, dir);
      await node.startAgain();
    },
  };
}

/** Until there is not a byte left. */
function fillBytes(dir: string): void {
  const fd = openSync(join(dir, "fill"), "w");
  for (const sizeBytes of [1 << 20, 1 << 12, 1]) {
    while (canDo(() => writeSync(fd, Buffer.alloc(sizeBytes, 1))));
  }
  closeSync(fd);
}

function fillInodes(dir: string): void {
  mkdirSync(join(dir, "fill"));
  for (let i = 0; canDo(() => writeFileSync(join(dir, "fill", String(i)), "")); i++);
}

function canDo(step: () => void): boolean {
  try {
    step();
    return true;
  } catch (error) {
    assert.equal((error as NodeJS.ErrnoException).code, "ENOSPC");
    return false;
  }
}

/** The call is refused for want of room, and says where. */
async function hasNoRoom(call: Promise<unknown>, words: RegExp): Promise<void> {
  const error = await call.then(
    () => assert.fail(`there was room: ${words}`),
    (e: unknown) => e,
  );
  assert.ok(error instanceof StatusError, String(error));
  assert.equal(codeName(error.code), "ResourceExhausted", error.message);
  assert.match(error.message, /no room .* file system/);
  assert.match(error.message, words);
}

const cases = [
  {
    part: "root",
    of: "bytes",
    options: "size=24m",
    fill: fillBytes,
    pull: /tar entry|layers/,
    run: /run pod sandbox .*state\.db/,
    create: /create container .*state\.db/,
  },
  {
    part: "root",
    of: "inodes",
    options: "size=24m,nr_inodes=1500",
    fill: fillInodes,
    pull: /root\/layers/,
    run: /attach .*root\/cni/,
    create: /mount the root file system: .*root\/containers/,
  },
  {
    part: "state",
    of: "bytes",
    options: "size=4m",
    fill: fillBytes,
    pull: undefined,
    // A pod's files are on a file system of their own.
    run: undefined,
    create: /state\/containers/,
  },
  {
    part: "state",
    of: "inodes",
    options: "size=24m,nr_inodes=300",
    fill: fillInodes,
    pull: undefined,
    run: /create namespaces and files: .*state\/pods/,
    create: /state\/containers/,
  },
] as const;

for (const { part, of, options, fill, pull, run, create } of cases) {
  test(
    `without ${of} for ${part} calls say so, what runs goes on, and with room again they work`,
    { skip },
    async () => {
      await using node = await TestNode.start();
      await using _ = await onSmallDisk(node, part, options);
      const dir = join(node.dir, part);
      const pod = await node.runPod();
      const running = await node.runContainer(pod, "while :; do echo tick; sleep 0.05; done");
      const other = await node.runPod();
      const image = node.registry.add("other", "v1", makeImage([makeLayer([file("x", Buffer.alloc(100_000, 7))])]));
      const pullIt = () =>
        node.call("pullImage", { image: imageSpec(image), auth: undefined, sandboxConfig: undefined });
      const config = node.podConfig();
      const runIt = () => node.call("runPodSandbox", { config, runtimeHandler: "" });
      const container = node.containerConfig("sleep 600");
      const createIt = () =>
        node.call("createContainer", { podSandboxId: pod.id, config: container, sandboxConfig: pod.config });
      const waiting = await node.createContainer(pod, "echo begun; sleep 600");
      const listed = async () => [
        (await node.call("listPodSandbox", { filter: undefined })).items.length,
        (await node.call("listContainers", { filter: undefined })).containers.length,
      ];
      const before = await listed();
      const remained = node.remains();

      fill(dir);
      if (pull === undefined) await pullIt();
      else await hasNoRoom(pullIt(), pull);
      if (run === undefined) await node.removePod((await runIt()).podSandboxId);
      else await hasNoRoom(runIt(), run);
      await hasNoRoom(createIt(), create);
      // Whether a start needs room is the runtime's; one that it refuses can be made again.
      const refused = await node.startContainer(waiting).then(
        () => undefined,
        (error: unknown) => error,
      );
      if (refused !== undefined) {
        await hasNoRoom(Promise.reject(refused), /start container/);
        assert.equal((await node.containerStatus(waiting)).state, ContainerState.CONTAINER_CREATED);
      }
      await waitFor(() => node.remains().length <= remained.length, {
        message: () =>
          `left: ${node
            .remains()
            .filter((path) => !remained.includes(path))
            .join("\n")}`,
      });
      assert.deepEqual(await listed(), before);
      const ticks = (await node.log(running)).length;
      await waitFor(async () => (await node.log(running)).length > ticks + 2, {
        message: "the container's log has stopped",
      });
      assert.equal((await node.call("status", { verbose: true })).status!.conditions[0]!.status, true);
      // What frees space works: the state database has a reserve.
      await node.removePod(other.id);

      rmSync(join(dir, "fill"), { recursive: true });
      if (refused !== undefined) await node.startContainer(waiting);
      if (part === "state" || refused !== undefined) await node.untilLogged(waiting, "begun");
      await pullIt();
      const { podSandboxId } = await runIt();
      const { containerId } = await createIt();
      await node.startContainer(containerId);
      assert.equal(await node.output(containerId, "echo works"), "works\n");
      await node.removePod(podSandboxId);
      await node.stopContainer(running, 0);
    },
  );
}

test("without file descriptors calls say so, what runs goes on, and with more they work", { skip }, async () => {
  await using node = await TestNode.start();
  const pod = await node.runPod();
  const running = await node.runContainer(pod, "while :; do echo tick; sleep 0.05; done");
  const limit = (files: number) => execFileSync("prlimit", ["--pid", String(node.pid), `--nofile=${files}:`]);
  const [, soft] = /^Max open files\s+(\d+)/m.exec(readFileSync(`/proc/${node.pid}/limits`, "utf8"))!;
  const config = node.podConfig();
  limit(readdirSync(`/proc/${node.pid}/fd`).length);
  try {
    for (let i = 0; i < 3; i++) {
      await assert.rejects(node.call("runPodSandbox", { config, runtimeHandler: "" }), (error: StatusError) => {
        assert.equal(codeName(error.code), "ResourceExhausted", error.message);
        assert.match(error.message, /raise LimitNOFILE/);
        return true;
      });
    }
    assert.equal(
      (await node.call("listPodSandbox", { filter: undefined })).items.filter((item) => item.id !== pod.id).length,
      0,
    );
    const ticks = (await node.log(running)).length;
    await waitFor(async () => (await node.log(running)).length > ticks + 2, {
      message: "the container's log has stopped",
    });
  } finally {
    limit(Number(soft));
  }
  const { podSandboxId } = await node.call("runPodSandbox", { config, runtimeHandler: "" });
  await node.removePod(podSandboxId);
  assert.equal(await node.output(running, "echo works"), "works\n");
});

test("a daemon that was stopped for seconds goes on where it was, and has missed nothing", { skip }, async () => {
  await using node = await TestNode.start();
  const pod = await node.runPod();
  const ends = await node.runContainer(pod, "sleep 0.5; exit 7");
  const logs = await node.runContainer(pod, "i=0; while :; do echo $i; i=$((i+1)); sleep 0.02; done");
  const calls = [
    node.runPod(),
    node.createContainer(pod, "true"),
    node.call("pullImage", { image: imageSpec(node.image), auth: undefined, sandboxConfig: undefined }),
  ];
  process.kill(node.pid, "SIGSTOP");
  const late = [node.call("version", { version: "v1" }), node.runPod()];
  await new Promise((resolve) => setTimeout(resolve, 3000));
  process.kill(node.pid, "SIGCONT");
  await Promise.all([...calls, ...late]);
  assert.equal((await node.untilExited(ends)).exitCode, 7);
  const numbers = (await node.log(logs)).map((entry) => entry.text);
  assert.deepEqual(
    numbers.slice(0, 100),
    Array.from({ length: 100 }, (_, i) => String(i)),
  );
});

test(
  "a runtime or monitor that disappears is named by the call that needs it, and the same call works when it is back",
  { skip },
  async () => {
    await using node = await TestNode.start();
    await node.stop();
    const bin = join(node.dir, "bin");
    mkdirSync(bin);
    const config = readFileSync(node.configFile, "utf8");
    for (const tool of ["crun", "conmon"])
      copyFileSync(execFileSync("which", [tool], { encoding: "utf8" }).trim(), join(bin, tool));
    writeFileSync(node.configFile, `conmon = "${bin}/conmon"\n${config}\n[runtimes.crun]\npath = "${bin}/crun"\n`);
    await node.startAgain();
    const pod = await node.runPod();
    const running = await node.runContainer(pod, "while :; do echo tick; sleep 0.05; done");
    const runtimeReady = async () =>
      (await node.call("status", { verbose: false })).status!.conditions.find(
        (condition) => condition.type === "RuntimeReady",
      );
    for (const tool of ["crun", "conmon"]) {
      const container = node.containerConfig("sleep 600");
      const create = () =>
        node.call("createContainer", { podSandboxId: pod.id, config: container, sandboxConfig: pod.config });
      renameSync(join(bin, tool), join(node.dir, tool));
      const words =
        tool === "crun"
          ? `the OCI runtime ${bin}/crun of the handler crun is not there any more; install crun again`
          : `the monitor ${bin}/conmon is not there any more; install the package conmon`;
      await rejectsWith(Code.FailedPrecondition, create(), new RegExp(`^create container .*${words}`));
      assert.equal((await node.call("listContainers", { filter: undefined })).containers.length, 1);
      const ticks = (await node.log(running)).length;
      await waitFor(async () => (await node.log(running)).length > ticks + 2, {
        message: "the container's log has stopped",
      });
      const missing = (await runtimeReady())!;
      assert.deepEqual([missing.status, missing.reason], [false, "NoRuntime"]);
      assert.match(missing.message, new RegExp(`${bin}/${tool} is not there any more; install`));
      renameSync(join(node.dir, tool), join(bin, tool));
      assert.equal((await runtimeReady())!.status, true);
      const { containerId } = await create();
      await node.startContainer(containerId);
      await node.stopContainer(containerId, 0);
      await node.removeContainer(containerId);
    }
    await node.removePod(pod.id);
  },
);

test(
  "a state directory that became read-only is told of, and the same call works when it is writable",
  { skip },
  async () => {
    await using node = await TestNode.start();
    await using _ = await onSmallDisk(node, "state", "size=24m");
    const config = node.podConfig();
    const run = () => node.call("runPodSandbox", { config, runtimeHandler: "" });
    execFileSync("mount", ["-o", "remount,ro", node.state]);
    try {
      await rejectsWith(Code.FailedPrecondition, run(), /^run pod sandbox .*EROFS.*state\/pods.*mount it writable/);
    } finally {
      execFileSync("mount", ["-o", "remount,rw", node.state]);
    }
    assert.deepEqual((await node.call("listPodSandbox", { filter: undefined })).items, []);
    await node.removePod((await run()).podSandboxId);
  },
);

for (const runtime of eachRuntime) {
  const test = testFor(runtime);
  test(
    `a start with ${runtime} that races a stop works or is told so, and the container has ended by the stop`,
    { skip },
    async () => {
      await using node = await TestNode.start({ runtime });
      const pod = await node.runPod();
      const refusals: string[] = [];
      for (let delayMs = 0; delayMs < 24; delayMs += 2) {
        const id = await node.createContainer(pod, "sleep 600");
        const start = node.startContainer(id).catch((error: unknown) => {
          assert.equal(codeName(codeOf(error)), "FailedPrecondition", messageOf(error));
          refusals.push(messageOf(error));
        });
        await new Promise((resolve) => setTimeout(resolve, delayMs));
        await node.stopContainer(id, 0);
        await start;
        const status = await node.untilExited(id);
        assert.deepEqual([status.exitCode, status.reason], [137, "Error"]);
        await node.removeContainer(id);
      }
      for (const message of refusals) assert.match(message, /it was stopped or killed in the meantime|it is exited/);
    },
  );
}
