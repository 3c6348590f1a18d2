import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { suite, test } from "node:test";
import { Code, codeOf } from "@keelson/base/status.ts";
import { run } from "@keelson/linux/run.ts";
import { inOwnSandbox } from "@keelson/testkit/host-sandbox.ts";
import { runtimeBinary, withoutRuntime } from "@keelson/testkit/runtime-binary.ts";
import { waitFor } from "@keelson/testkit/wait.ts";
import { metricsOf, runcOptions, specAny, timestampNs } from "./any.ts";
import { deleteWithShim } from "./commands.ts";
import type { ShimConnection } from "./connection.ts";
import { Status } from "./gen/containerd/task/v2/task.ts";
import { FifoReader, TestShims } from "./testing/test-bundle.ts";

const file = runtimeBinary("containerd-shim-runc-v2") ?? "";
const skip =
  withoutRuntime("containerd-shim-runc-v2") ||
  (!inOwnSandbox() && "needs a sandbox: bin/node --import @keelson/testkit/sandboxed.ts FILE");
const limits = { timeoutMs: 30_000, signal: new AbortController().signal };

/** According to the shim, or to the kernel where the shim cannot find the cgroup below the sandbox's mounts. */
async function memoryLimit(shim: ShimConnection, id: string): Promise<bigint | undefined> {
  try {
    const metrics = metricsOf((await shim.task.call("Stats", { id }, limits)).stats);
    return metrics?.cgroups === 1 ? metrics.metrics.memory?.usage?.limit : metrics?.metrics.memory?.usageLimit;
  } catch (error) {
    assert.match(String(error), /cgroup does not exist/);
    assert.equal(codeOf(error), Code.NotFound);
    return BigInt(readFileSync(`/sys/fs/cgroup/memory/${id}/memory.limit_in_bytes`, "utf8").trim());
  }
}

async function hasGone(pid: number): Promise<void> {
  await waitFor(() => !existsSync(`/proc/${pid}`), { message: `shim ${pid} still runs` });
}

suite("containerd's shim for OCI runtimes", { skip, concurrency: false }, () => {
  for (const binaryName of ["runc", "crun"]) {
    test(`a container of ${binaryName} runs, with an exec, statistics, limits and a pause, and its end is reported in every way`, async () => {
      await using shims = await TestShims.start();
      const bundle = shims.bundle(`life-${binaryName}`, "echo out; echo err >&2; exec sleep 100");
      using stdout = new FifoReader(`${bundle.dir}/stdout`);
      using stderr = new FifoReader(`${bundle.dir}/stderr`);
      const { shim, pid } = await shims.startShim(shims.program(file), bundle);
      const { id } = bundle;
      const paths = { stdout: `${bundle.dir}/stdout`, stderr: `${bundle.dir}/stderr` };
      const created = await shim.task.call(
        "Create",
        { id, bundle: bundle.dir, ...paths, options: runcOptions({ binaryName }) },
        limits,
      );
      assert.ok(created.pid > 1);
      const exit = shim.task.call("Wait", { id }, limits);
      exit.catch(() => {});
      await shim.task.call("Start", { id }, limits);
      await waitFor(() => stdout.read() === "out\n");
      await waitFor(() => stderr.read() === "err\n");

      const process = specAny("Process", {
        args: ["/bin/busybox", "sh", "-c", "exit 7"],
        cwd: "/",
        user: { uid: 0, gid: 0 },
      });
      await shim.task.call("Exec", { id, execId: "e1", spec: process }, limits);
      await shim.task.call("Start", { id, execId: "e1" }, limits);
      assert.equal((await shim.task.call("Wait", { id, execId: "e1" }, limits)).exitStatus, 7);
      await shim.task.call("Delete", { id, execId: "e1" }, limits);

      await shim.task.call(
        "Update",
        { id, resources: specAny("LinuxResources", { memory: { limit: 64 << 20 } }) },
        limits,
      );
      assert.equal(await memoryLimit(shim, id), 64n << 20n);
      assert.deepEqual(
        (await shim.task.call("Pids", { id }, limits)).processes.map((p) => p.pid),
        [created.pid],
      );
      await shim.task.call("Pause", { id }, limits);
      assert.equal((await shim.task.call("State", { id }, limits)).status, Status.PAUSED);
      await shim.task.call("Resume", { id }, limits);

      await shim.task.call("Kill", { id, signal: 15, all: true }, limits);
      await shim.task
        .call("Kill", { id, signal: 9 }, limits)
        .catch((e: unknown) => assert.equal(codeOf(e), Code.NotFound));
      const { exitStatus, exitedAt } = await exit;
      assert.ok(exitStatus === 143 || exitStatus === 137);
      assert.ok(timestampNs(exitedAt) > 1_700_000_000_000_000_000n);
      await waitFor(() => shims.events.some((event) => event.type === "exit" && event.processId === id));
      assert.ok(
        shims.events.some((event) => event.type === "exit" && event.containerId === id && event.processId === "e1"),
      );
      assert.equal((await shim.task.call("Delete", { id }, limits)).exitStatus, exitStatus);
      await shim.task.call("Shutdown", { id }, limits).catch((e: unknown) => assert.equal(codeOf(e), Code.Unavailable));
      await hasGone(pid);
    });
  }

  test("ten containers of a pod share a shim, which ends with the last of them", async () => {
    await using shims = await TestShims.start();
    const program = shims.program(file);
    const started = [];
    for (let i = 0; i < 10; i += 1)
      started.push(
        await shims.startShim(program, shims.bundle(`c${i}`, "sleep 100", { "io.kubernetes.cri.sandbox-id": "pod1" })),
      );
    const other = await shims.startShim(program, shims.bundle("alone", "sleep 100"));
    const [first] = started;
    assert.deepEqual([...new Set(started.map((s) => s.pid))], [first!.pid]);
    assert.deepEqual([...new Set(started.map((s) => s.address))], [first!.address]);
    assert.notEqual(other.pid, first!.pid);
    for (const [i, { shim }] of started.entries()) {
      const id = `c${i}`;
      await shim.task.call("Create", { id, bundle: `${shims.dir}/${id}` }, limits);
      await shim.task.call("Start", { id }, limits);
    }
    for (const [i, { shim }] of started.entries()) {
      const id = `c${i}`;
      const exit = shim.task.call("Wait", { id }, limits);
      await shim.task.call("Kill", { id, signal: 9 }, limits);
      assert.equal((await exit).exitStatus, 137);
      await shim.task.call("Delete", { id }, limits);
      const asked = shim.task.call("Shutdown", { id }, limits);
      if (i < 9) await asked;
      else await asked.catch((e: unknown) => assert.equal(codeOf(e), Code.Unavailable));
      if (i < 9) assert.ok(existsSync(`/proc/${first!.pid}`), `the shim ended after container ${i}`);
    }
    await hasGone(first!.pid);
    await other.shim.task
      .call("Shutdown", { id: "alone" }, limits)
      .catch((e: unknown) => assert.equal(codeOf(e), Code.Unavailable));
    await hasGone(other.pid);
  });

  test("`delete` removes what a killed shim has left behind, and may be repeated", async () => {
    await using shims = await TestShims.start();
    const program = shims.program(file);
    const bundle = shims.bundle("killed", "exec sleep 100");
    const { shim, pid } = await shims.startShim(program, bundle);
    const { pid: task } = await shim.task.call(
      "Create",
      { id: "killed", bundle: bundle.dir, options: runcOptions({ binaryName: "runc" }) },
      limits,
    );
    await shim.task.call("Start", { id: "killed" }, limits);
    const waiting = shim.task.call("Wait", { id: "killed" }, limits);
    process.kill(pid, "SIGKILL");
    await assert.rejects(waiting, (e: unknown) => codeOf(e) === Code.Unavailable);
    assert.equal((await shim.closed)?.code, Code.Unavailable);
    // When Start returns, the process may still be the runtime.
    await waitFor(() => readFileSync(`/proc/${task}/cmdline`, "utf8").startsWith("sleep"));
    const command = { run, program, bundle };
    assert.equal((await deleteWithShim(command, limits)).exitStatus, 137);
    await waitFor(
      () => !existsSync(`/proc/${task}`) || /^State:\s+Z/m.test(readFileSync(`/proc/${task}/status`, "utf8")),
    );
    await deleteWithShim(command, limits);
  });

  test("the README's example runs and prints what it says", async () => {
    await using shims = await TestShims.start();
    const readme = readFileSync(new URL("../README.md", import.meta.url), "utf8");
    const example = /```ts\n([^]*?)```/.exec(readme)?.[1] ?? assert.fail();
    const bundle = shims.bundle("example", "exit 3");
    const given = `const program = ${JSON.stringify(shims.program(file))}; const bundle = ${JSON.stringify(bundle)}; const signal = AbortSignal.timeout(60000);`;
    const result = await run({
      file: process.execPath,
      args: ["--input-type=module", "-e", `${given}\n${example}`],
      cwd: import.meta.dirname,
      timeoutMs: 60_000,
    });
    assert.equal(result.stdout.toString(), "3\n", result.stderr.toString());
  });
});
