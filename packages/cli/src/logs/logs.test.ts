import assert from "node:assert/strict";
import { appendFile, mkdtemp, open, rename, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import type { Output } from "../io.ts";
import { LogPrinter, type PrintOptions } from "./log-printer.ts";
import { readLog, type ReadLogOptions } from "./read-log.ts";
import { parseSinceNs } from "./since.ts";
import { tailOffset } from "./tail.ts";

process.env.TZ = "UTC";

const at = "2026-11-21T03:11:32.18536547Z";

function printer(options: Partial<PrintOptions> = {}) {
  const text = { out: "", err: "" };
  const output = (to: "out" | "err"): Output => ({
    isTerminal: false,
    columns: 80,
    rows: 24,
    onResize: () => ({ [Symbol.dispose]: () => {} }),
    write: (data) => ((text[to] += Buffer.from(data).toString()), Promise.resolve()),
  });
  return { text, printer: new LogPrinter(output("out"), output("err"), { timestamps: false, ...options }) };
}

async function print(log: string, options: Partial<PrintOptions> = {}, chunk = 1e9) {
  const { text, printer: p } = printer(options);
  const bytes = Buffer.from(log);
  for (let i = 0; i < bytes.length; i += chunk) await p.push(bytes.subarray(i, i + chunk));
  await p.endFile();
  return text;
}

async function logFile(t: TestContext, content: string) {
  const dir = await mkdtemp(join(tmpdir(), "keelctl-log-"));
  t.after(() => rm(dir, { recursive: true }));
  const path = join(dir, "0.log");
  await writeFile(path, content);
  return path;
}

const mixed = `${at} stdout F one\n${at} stdout P two-\n${at} stderr F err\n${at} stdout F half\ngarbage\n${at} stdout F \n${at} stdout F last\n`;

test("each stream goes to its own output, parts are joined, what is not a log line is marked", async () => {
  const text = await print(mixed);
  assert.equal(text.out, "one\ntwo-half\n\nlast\n");
  assert.equal(text.err, "err\nkeelctl: not a line of a CRI log: garbage\n");
});

test("it does not matter where the reads are cut", async () => {
  const whole = await print(mixed, { timestamps: true });
  for (let chunk = 1; chunk < 50; chunk += 1)
    assert.deepEqual(await print(mixed, { timestamps: true }, chunk), whole, `${chunk} bytes at once`);
});

test("a joined line has one time before it, with nine digits", async () => {
  const text = await print(`${at} stdout P a\n${at} stdout F b\n2026-11-21T04:00:00+01:00 stdout F c\n`, {
    timestamps: true,
  });
  assert.equal(text.out, "2026-11-21T03:11:32.185365470Z ab\n2026-11-21T04:00:00.000000000+01:00 c\n");
});

test("since, stream and limit", async () => {
  const log =
    "2026-01-01T00:00:00Z stdout F old\n2026-01-02T00:00:00.5Z stdout F new\n2026-01-02T00:00:01Z stderr F err\n";
  assert.equal((await print(log, { sinceNs: parseSinceNs("2026-01-02T00:00:00.5", 0) })).out, "new\n");
  assert.deepEqual(await print(log, { stream: "stderr" }), { out: "", err: "err\n" });
  assert.deepEqual(await print(log, { limitBytes: 6 }), { out: "old\nne", err: "" });
  assert.deepEqual(await print(log, { limitBytes: 0 }), { out: "", err: "" });
});

test("hostile files: no head, heads that never end, wrong dates, no newline at the end", async () => {
  const marked = "keelctl: not a line of a CRI log: ";
  assert.equal((await print("x".repeat(1000))).err, `${marked}${"x".repeat(1000)}\n`);
  assert.equal((await print(`${at} stdout F`)).err, `${marked}${at} stdout F\n`);
  assert.equal((await print(`2026-99-99T00:00:00Z stdout F x\n`)).err, `${marked}2026-99-99T00:00:00Z stdout F x\n`);
  assert.equal((await print(`\n\n${at} stdout F x`)).out, "x");
  assert.equal((await print(`${at} stdout F ${"y".repeat(300_000)}\n`, {}, 1000)).out, `${"y".repeat(300_000)}\n`);
});

test("a line of gigabytes is never held: what was pushed is written before the next push", async () => {
  const { text, printer: p } = printer();
  await p.push(Buffer.from(`${at} stdout P `));
  for (let i = 0; i < 100; i += 1) {
    await p.push(Buffer.alloc(1000, "z"));
    assert.equal(text.out.length, (i + 1) * 1000);
  }
});

test("tail counts a line in parts once, across any number of blocks", async (t) => {
  const long = "x".repeat(70_000);
  const lines = [
    `${at} stdout F first\n`,
    `${at} stdout P ${long}\n`,
    `${at} stdout F end\n`,
    `${at} stderr F err\n`,
    "garbage\n",
    `${at} stdout F last\n`,
  ];
  const path = await logFile(t, lines.join(""));
  await using file = await open(path);
  const { size } = await file.stat();
  const startOf = (line: number) => lines.slice(0, line).join("").length;
  const expected = [size, startOf(5), startOf(4), startOf(3), startOf(1), 0, 0];
  for (const [n, offset] of expected.entries()) assert.equal(await tailOffset(file, size, n), offset, `--tail ${n}`);
  await appendFile(path, `${at} stdout F unfini`);
  assert.equal(await tailOffset(file, (await file.stat()).size, 1), startOf(5));
  assert.equal(await tailOffset(file, 0, 5), 0);
});

/** Follows a log through steps, each taken when the reader has read all. Then the container ends. */
async function follow(path: string, steps: (() => Promise<unknown>)[], options: Omit<ReadLogOptions, "follow"> = {}) {
  const { text, printer: p } = printer();
  const waiter = {
    isOver: () => Promise.resolve(steps.length === 0),
    changed: async () => {
      await steps.shift()?.();
    },
  };
  await readLog(path, p, { ...options, follow: waiter });
  return text;
}

test("following ends with the container, after its last output", async (t) => {
  const path = await logFile(t, `${at} stdout F one\n`);
  const text = await follow(path, [() => appendFile(path, `${at} stdout F tw`), () => appendFile(path, `o\n`)]);
  assert.equal(text.out, "one\ntwo\n");
});

test("a rotated file is read to its end, then the new one from its beginning", async (t) => {
  const path = await logFile(t, `${at} stdout F one\n`);
  const text = await follow(
    path,
    [
      async () => {
        await appendFile(path, `${at} stdout F two\n`);
        await rename(path, `${path}.1`);
      },
      async () => {
        await appendFile(`${path}.1`, `${at} stdout F three\n`);
        await writeFile(path, `${at} stdout F four\n`);
      },
      () => appendFile(path, `${at} stdout F five\n`),
    ],
    { tailLines: 0 },
  );
  assert.equal(text.out, "two\nthree\nfour\nfive\n");
});

test("a file that is truncated is read again from its beginning", async (t) => {
  const path = await logFile(t, `${at} stdout F one\n`);
  const text = await follow(path, [() => truncate(path), () => appendFile(path, `${at} stdout F 2\n`)]);
  assert.equal(text.out, "one\n2\n");
});

test("following waits for a file that does not exist yet; without following that is an error", async (t) => {
  const path = await logFile(t, "");
  await rm(path);
  assert.equal((await follow(path, [() => writeFile(path, `${at} stdout F late\n`)])).out, "late\n");
  await assert.rejects(
    readLog(`${path}.no`, printer().printer, {}),
    /there is no such file\. keelctl reads it directly/,
  );
});

test("--since in all of its forms", () => {
  const now = Date.UTC(2026, 0, 2);
  const ns = (ms: number) => BigInt(ms) * 1_000_000n;
  assert.equal(parseSinceNs("42m", now), ns(now - 42 * 60_000));
  assert.equal(parseSinceNs("1.5h", now), ns(now - 90 * 60_000));
  assert.equal(parseSinceNs("1767225600.5", now), 1767225600_500000000n);
  assert.equal(parseSinceNs("2026-01-01", now), ns(Date.UTC(2026, 0, 1)));
  assert.equal(parseSinceNs("2026-01-01T01:30", now), ns(Date.UTC(2026, 0, 1, 1, 30)));
  assert.equal(parseSinceNs("2026-01-01T00:00:00.000000001Z", now), ns(Date.UTC(2026, 0, 1)) + 1n);
  assert.equal(parseSinceNs("2026-01-01T02:00:00+02:00", now), ns(Date.UTC(2026, 0, 1)));
  assert.throws(() => parseSinceNs("yesterday", now), /--since yesterday/);
});
