/**
 * Points at which a worker thread that unpacks, amends or repairs a layer kills the whole process. To be preloaded with
 * `--import`, so that workers load it too; on the main thread it does nothing.
 *
 * The file `arm-worker` in the directory KEELSON_CRASH_DIR names a step and how many times it may be done, `content 2`;
 * what writes then gets as far as to the middle of it. The name is written to `died`. The worker looks for the file
 * before it enters a layer as its root, since from in there it cannot.
 */
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { isMainThread } from "node:worker_threads";
import { native } from "@keelson/linux/native.ts";

type AnyFunction = (...args: never[]) => unknown;
type Content = string | Uint8Array;

const dir = process.env["KEELSON_CRASH_DIR"] ?? "";
const { existsSync, readFileSync, openSync, writeSync, closeSync, fsyncSync } = fs;

let order = { text: "", left: 0, step: "", diedFd: -1 };

function look(): void {
  const text = existsSync(`${dir}/arm-worker`) ? readFileSync(`${dir}/arm-worker`, "utf8") : "";
  if (text === order.text) return;
  if (order.diedFd !== -1) closeSync(order.diedFd);
  const [, step = "", left = ""] = /^(\w+) (\d+)/.exec(text) ?? [];
  order = { text, step, left: Number(left), diedFd: text === "" ? -1 : openSync(`${dir}/died`, "a") };
}

/** Whether this is the step to die in. */
function isLast(step: string): boolean {
  if (step !== order.step) return false;
  order.left -= 1;
  return order.left < 0;
}

function die(): never {
  writeSync(order.diedFd, order.text);
  fsyncSync(order.diedFd);
  process.kill(process.pid, "SIGKILL");
  for (;;) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
}

/** `half`: what is done of it before the process dies. */
function replace<T extends object>(
  owner: T,
  name: keyof T & string,
  stepOf: (...args: never[]) => string,
  half?: (...args: never[]) => unknown,
): void {
  const original = owner[name] as AnyFunction;
  owner[name] = ((...args: never[]) => {
    if (!isInRoot) look();
    if (isLast(stepOf(...args))) {
      half?.(...args);
      die();
    }
    return original(...args);
  }) as T[keyof T & string];
}

let isInRoot = false;

if (!isMainThread && dir !== "") {
  const { writeFileSync, appendFileSync } = fs;
  const halfOf = (content: Content) => content.slice(0, Math.floor(content.length / 2)) as string;
  replace(
    fs,
    "writeSync",
    () => "content",
    (fd: number, bytes: Uint8Array) => writeSync(fd, bytes.subarray(0, Math.floor(bytes.length / 2))),
  );
  // The manifest alone is written so.
  replace(
    fs,
    "writeFileSync",
    () => "manifest",
    (fd: number, content: Content) => writeFileSync(fd, halfOf(content)),
  );
  replace(
    fs,
    "appendFileSync",
    () => "amend",
    (path: string, content: Content) => appendFileSync(path, halfOf(content)),
  );
  for (const [name, step] of [
    ["openSync", "file"],
    ["mkdirSync", "mkdir"],
    ["linkSync", "link"],
    ["symlinkSync", "symlink"],
    ["futimesSync", "times"],
    ["renameSync", "rename"],
    ["rmSync", "rm"],
  ] as const) {
    replace(fs, name, () => step);
  }
  syncBuiltinESMExports();
  const real = { ...native };
  native.enterRoot = (...args) => {
    look();
    real.enterRoot(...args);
    isInRoot = true;
  };
  native.leaveRoot = (...args) => {
    real.leaveRoot(...args);
    isInRoot = false;
  };
}
