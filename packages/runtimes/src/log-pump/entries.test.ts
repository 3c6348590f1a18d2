import assert from "node:assert/strict";
import { test } from "node:test";
import { linesOf, parseLog } from "@keelson/testkit/cri-log.ts";
import * as fc from "fast-check";
import { entriesOf, maxPieceBytes } from "./entries.ts";

const time = "2026-01-02T03:04:05.000000006Z";
const text = (output: string, flush?: "P" | "F") => {
  const { bytes, used } = entriesOf(Buffer.from(output), { stream: "stderr", time, flush });
  return { log: bytes.toString(), used };
};

test("whole lines are entries; the beginning of a line is left over", () => {
  assert.deepEqual(text("a\n\nbc"), { log: `${time} stderr F a\n${time} stderr F \n`, used: 3 });
  assert.deepEqual(text(""), { log: "", used: 0 });
  assert.deepEqual(text("abc"), { log: "", used: 0 });
});

test("what is left over is written as a part of a line, or as a line at the end", () => {
  assert.deepEqual(text("a\nbc", "P"), { log: `${time} stderr F a\n${time} stderr P bc\n`, used: 4 });
  assert.deepEqual(text("a\nbc", "F"), { log: `${time} stderr F a\n${time} stderr F bc\n`, used: 4 });
});

test("a line that is too long for one entry is several, and only the last one has F", () => {
  const long = "x".repeat(maxPieceBytes);
  const tags = (output: string, flush?: "P" | "F") =>
    parseLog(text(output, flush).log).map((e) => [e.tag, e.text.length]);
  assert.deepEqual(tags(`${long}\n`), [["F", maxPieceBytes]]);
  assert.deepEqual(tags(`${long}y\n`), [
    ["P", maxPieceBytes],
    ["F", 1],
  ]);
  assert.deepEqual(tags(long), [["P", maxPieceBytes]]);
  assert.deepEqual(tags(`${long}${long}yy`), [
    ["P", maxPieceBytes],
    ["P", maxPieceBytes],
  ]);
  assert.deepEqual(tags(`${long}yy`, "F"), [
    ["P", maxPieceBytes],
    ["F", 2],
  ]);
});

test("whatever is written, and wherever it is cut, is in the log as it was", () => {
  const piece = fc.oneof(
    fc.string({ unit: fc.constantFrom("a", "\n", "é", "\r") }),
    fc.nat(3).map((n) => "z".repeat(maxPieceBytes + n - 1)),
  );
  fc.assert(
    fc.property(fc.array(fc.tuple(piece, fc.constantFrom(undefined, "P" as const)), { maxLength: 12 }), (pieces) => {
      let rest = Buffer.alloc(0);
      let log = "";
      const write = (bytes: Buffer, flush?: "P" | "F") => {
        const output = Buffer.concat([rest, bytes]);
        const entries = entriesOf(output, { stream: "stdout", time, flush });
        log += entries.bytes.toString("latin1");
        rest = output.subarray(entries.used);
      };
      for (const [output, flush] of pieces) write(Buffer.from(output), flush);
      write(Buffer.alloc(0), "F");
      const all = Buffer.from(pieces.map(([output]) => output).join("")).toString("latin1");
      // The last newline ends a line and begins none.
      assert.deepEqual(linesOf(parseLog(log)), all === "" ? [] : all.replace(/\n$/, "").split("\n"));
    }),
  );
});
