import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { TerminalSizes } from "./terminal-sizes.ts";

test("sizes are read however they are cut, and the last one counts", () => {
  const text = '{"Width":80,"Height":24}\n{"Width":101,"Height":43}{"height":5,"width":6}';
  for (let step = 1; step < text.length; step += 1) {
    const sizes = new TerminalSizes();
    const seen: string[] = [];
    sizes.follow(({ columns, rows }) => seen.push(`${columns}x${rows}`));
    for (let at = 0; at < text.length; at += step) sizes.write(Buffer.from(text.slice(at, at + step)));
    assert.deepEqual(seen, ["80x24", "101x43", "6x5"]);
    assert.deepEqual(sizes.last, { columns: 6, rows: 5 });
  }
});

test("what is not a size is ignored, and a size after it is read", () => {
  for (const wrong of [
    '{"Width":-1,"Height":2}',
    '{"Width":1}',
    '{"Width":1.5,"Height":2}',
    '{"Width":"1","Height":2}',
    '{"Width":65536,"Height":2}',
    "}",
    "{}",
    "[]}",
    "null}",
  ]) {
    const sizes = new TerminalSizes();
    sizes.write(Buffer.from(wrong));
    assert.equal(sizes.last, undefined, wrong);
    sizes.write(Buffer.from('{"Width":1,"Height":2}'));
    assert.deepEqual(sizes.last, { columns: 1, rows: 2 }, wrong);
  }
});

test("noise neither throws nor fills memory", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 3000 })), (pieces) => {
      const sizes = new TerminalSizes();
      for (const piece of pieces) sizes.write(piece);
    }),
  );
  const sizes = new TerminalSizes();
  for (let i = 0; i < 1000; i += 1) sizes.write(Buffer.alloc(10_000, "{"));
  sizes.write(Buffer.from('}{"Width":1,"Height":2}'));
  assert.deepEqual(sizes.last, { columns: 1, rows: 2 });
});

test("the first size is waited for, but not for long", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const [soon, never] = [new TerminalSizes(), new TerminalSizes()];
  const first = soon.first(100);
  soon.write(Buffer.from('{"Width":1,"Height":2}'));
  assert.deepEqual(await first, { columns: 1, rows: 2 });
  const none = never.first(100);
  t.mock.timers.tick(100);
  assert.equal(await none, undefined);
});
