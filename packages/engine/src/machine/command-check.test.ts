import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { BeneathLooker } from "@keelson/linux/look-beneath.ts";
import type { Spec } from "@keelson/oci/runtime-spec/spec.ts";
import { CommandCheck } from "./command-check.ts";

function temporary(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), "keelson-check-"));
  t.after(() => rmSync(dir, { recursive: true }));
  return dir;
}

function specOf(root: string, command: string): Spec {
  const process = { cwd: "/", args: [command], env: ["PATH=/bin"], user: { uid: 0, gid: 0 } };
  return { ociVersion: "1.0.2", process, root: { path: root } };
}

/** One whose process a file system holds: killing it does not end it, and only the test does. */
function held() {
  const gone: (() => void)[] = [];
  let count = 0;
  const newLooker = (signal: AbortSignal): BeneathLooker => {
    count += 1;
    const look = () => new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
    const ended = new Promise<void>((resolve) => gone.push(resolve));
    return { look, ended, [Symbol.dispose]() {} } as unknown as BeneathLooker;
  };
  return { newLooker, count: () => count, answer: () => gone.forEach((resolve) => resolve()) };
}

test("a file system that does not answer leaves a failure unexplained after the deadline, and never holds more than 64 processes", async () => {
  const { newLooker, count, answer } = held();
  const check = new CommandCheck(newLooker, 20);
  const problems = await Promise.all(
    Array.from({ length: 100 }, () => check.problem(specOf("/r", "/a"), "x64", false)),
  );
  assert.deepEqual(new Set(problems), new Set([undefined]));
  assert.equal(count(), 64);
  await check.problem(specOf("/r", "/a"), "x64", false);
  assert.equal(count(), 64, "those that were killed are still there");
  answer();
  await Promise.resolve();
  await check.problem(specOf("/r", "/a"), "x64", false);
  assert.equal(count(), 65);
});

test("a process that cannot be started leaves a failure unexplained, and is not counted", async () => {
  const check = new CommandCheck(() => {
    throw new Error("EMFILE");
  });
  for (let i = 0; i < 70; i += 1) assert.equal(await check.problem(specOf("/r", "/a"), "x64", false), undefined);
});

test("a directory that becomes a link to the host while it is looked at shows nothing of the host", async (t) => {
  const dir = temporary(t);
  const root = join(dir, "root");
  mkdirSync(join(root, "bin"), { recursive: true });
  mkdirSync(join(dir, "host"));
  writeFileSync(join(dir, "host/tool"), "", { mode: 0o640 });
  writeFileSync(join(root, "bin/tool"), "#!/bin/tool\n", { mode: 0o755 });
  /** Swaps /bin for a link after each look that found it to be a directory, and back before the next. */
  const swapping = (signal: AbortSignal): BeneathLooker => {
    const looker = new BeneathLooker(signal);
    const hidden = join(root, "hidden");
    let isSwapped = false;
    const swap = () => {
      if (isSwapped) {
        rmSync(join(root, "bin"));
        renameSync(hidden, join(root, "bin"));
      } else {
        renameSync(join(root, "bin"), hidden);
        symlinkSync(join(dir, "host"), join(root, "bin"));
      }
      isSwapped = !isSwapped;
    };
    return {
      ended: looker.ended,
      look: async (at: { root: string; path: string }) => {
        if (isSwapped !== at.path.split("/").length > 2) swap();
        return looker.look(at);
      },
      [Symbol.dispose]: () => looker[Symbol.dispose](),
    } as unknown as BeneathLooker;
  };
  const problem = await new CommandCheck(swapping).problem(specOf(root, "/bin/tool"), "x64", false);
  assert.equal(problem, undefined, "ELOOP");
});
