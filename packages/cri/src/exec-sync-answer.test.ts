import assert from "node:assert/strict";
import { test } from "node:test";
import { encodeExecSync, serializeExecSync } from "./exec-sync-answer.ts";
import { ExecSyncResponse } from "./gen/runtime/v1/api.ts";

const size = 400_000;

for (const [name, stdout, stderr, exitCode] of [
  ["nothing", [], [], 0],
  ["an exit code", [], [], 255],
  ["one stream", ["hello"], [], 0],
  ["the other stream", [], ["oh"], 1],
  ["blocks", ["a".repeat(size), "b".repeat(size), "c"], ["d".repeat(127), "e".repeat(1)], 137],
] as const) {
  test(`encodes ${name} as the generated code does`, async () => {
    const blocks = [stdout, stderr].map((texts) => texts.map((text) => Buffer.from(text))) as [Buffer[], Buffer[]];
    const plain = { stdout: Buffer.concat(blocks[0]), stderr: Buffer.concat(blocks[1]), exitCode };
    const copied: Buffer[] = [];
    const answer = { stdout: blocks[0], stderr: blocks[1], exitCode };
    const response = await encodeExecSync(answer, (block) => copied.push(block));
    assert.deepEqual(copied, blocks.flat());
    assert.ok(Buffer.from(ExecSyncResponse.encode(plain).finish()).equals(serializeExecSync(response)));
    assert.deepEqual({ ...response }, plain);
    assert.ok(serializeExecSync(plain).equals(serializeExecSync(response)));
  });
}

test("others get their turn while a large answer is encoded", async () => {
  const blocks = Array.from({ length: 16 }, () => Buffer.alloc(1024 * 1024));
  let mostBetween = 0;
  let since = 0;
  const again = () => {
    since = 0;
    next = setImmediate(again);
  };
  let next = setImmediate(again);
  await encodeExecSync(
    { stdout: blocks, stderr: [], exitCode: 0 },
    () => (mostBetween = Math.max(mostBetween, ++since)),
  );
  clearImmediate(next);
  assert.ok(mostBetween <= 2, `${mostBetween} MiB were copied at a time`);
});
