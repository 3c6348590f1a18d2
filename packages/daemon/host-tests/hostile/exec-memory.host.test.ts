// Commands of ExecSync that write more than a daemon should hold: memory for all of them together is bounded.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { Code, StatusError } from "@keelson/base/status.ts";
import { skip } from "@keelson/testkit/host-sandbox.ts";
import { slowness, waitFor } from "@keelson/testkit/wait.ts";
import { TestNode } from "../testing/test-node.ts";

const mebibyte = 1024 * 1024;

test("16 commands that write 16 MiB to each stream: bounded, some refused, others answered", { skip }, async (t) => {
  await using node = await TestNode.start();
  const pod = await node.runPod();
  const id = await node.runContainer(pod, "sleep 600");
  const residentMebibytes = () =>
    Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${node.pid}/status`, "utf8"))![1]) / 1024;
  const script = "head -c 16777216 /dev/zero; head -c 16777216 /dev/zero >&2";
  const attack = async (): Promise<Code> => {
    const call = node.call("execSync", { containerId: id, cmd: ["sh", "-c", script], timeout: 60n });
    try {
      const { stdout, stderr } = await call;
      assert.deepEqual([stdout.length, stderr.length], [16 * mebibyte, 16 * mebibyte]);
      return Code.Ok;
    } catch (error) {
      assert.ok(error instanceof StatusError, String(error));
      assert.match(error.message, /output of all ExecSync calls together/);
      return error.code;
    }
  };
  await node.exec(id, "true");
  const before = residentMebibytes();
  const prober = spawn(process.execPath, [
    join(import.meta.dirname, "../testing/programs/version-prober.ts"),
    node.endpoint,
  ]);
  prober.stderr.pipe(process.stderr);
  const slowest = text(prober.stdout);
  let most = 0;
  const codes: Code[] = [];
  const all = Promise.all(Array.from({ length: 16 }, async () => codes.push(await attack())));
  while (codes.length < 16) {
    // A probe among them is not refused.
    assert.equal((await node.exec(id, "echo alive")).stdout, "alive\n");
    most = Math.max(most, residentMebibytes());
    await delay(20);
  }
  await all;
  prober.stdin.end();
  const counted = (code: Code) => codes.filter((c) => c === code).length;
  const resident = `${before.toFixed()} MiB before, ${most.toFixed()} at most, ${residentMebibytes().toFixed()} after`;
  t.diagnostic(`${resident}; ${counted(Code.Ok)} answered; Version took ${Number(await slowest).toFixed()} ms at most`);
  assert.equal(counted(Code.Ok) + counted(Code.ResourceExhausted), 16, codes.join());
  assert.ok(counted(Code.ResourceExhausted) > 0 && counted(Code.Ok) > 0, codes.join());
  assert.ok(most < before + 350, resident);
  await waitFor(async () => (await node.exec(id, "true"), residentMebibytes() < before + 80), {
    timeoutMs: 20_000 * slowness,
    message: () => `${residentMebibytes()} MiB resident, ${before} were`,
  });
  t.diagnostic(`${residentMebibytes().toFixed()} MiB later`);
  // All of it came back: one with the largest answer again.
  assert.equal(await attack(), Code.Ok);
});
