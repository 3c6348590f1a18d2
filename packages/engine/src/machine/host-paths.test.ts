import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, StatusError } from "@keelson/base/status.ts";
import type { ResolvedPath } from "@keelson/linux/resolve-paths.ts";
import { HostPaths } from "./host-paths.ts";

const noSignal = new AbortController().signal;

/** File systems that answer when they are told to. */
function newFileSystems() {
  const asked: string[] = [];
  const answers = new Map<string, () => void>();
  const resolve = (paths: readonly string[], makeMode?: number): Promise<ResolvedPath[]> => {
    asked.push(`${paths.join(" ")}${makeMode === undefined ? "" : ` ${makeMode.toString(8)}`}`);
    return new Promise((settle) =>
      answers.set(paths.join(" "), () => settle(paths.map((path) => ({ path: `${path}/real`, isDirectory: true })))),
    );
  };
  return { asked, answer: (paths: string) => answers.get(paths)!(), resolve };
}

const isLate = (error: unknown) =>
  error instanceof StatusError &&
  error.code === Code.DeadlineExceeded &&
  /\/nfs\/a did not answer.*server is gone/.test(error.message);

test("a path that does not answer is an error that names it, and its retry waits for the same process", async () => {
  const { asked, answer, resolve } = newFileSystems();
  const paths = new HostPaths(resolve, 10);
  await assert.rejects(paths.resolve(["/nfs/a"], false, noSignal), isLate);
  await assert.rejects(paths.resolve(["/nfs/a"], false, noSignal), isLate);
  assert.deepEqual(asked, ["/nfs/a"]);
  const retry = paths.resolve(["/nfs/a"], false, noSignal);
  answer("/nfs/a");
  assert.deepEqual(await retry, [{ path: "/nfs/a/real", isDirectory: true }]);
  await assert.rejects(paths.resolve(["/nfs/a"], false, noSignal), isLate);
  assert.equal(asked.length, 2, "what was answered is asked anew");
});

test("others do not wait for it, nor does one that is to be made for one that is not", async () => {
  const { asked, answer, resolve } = newFileSystems();
  const paths = new HostPaths(resolve, 1000);
  const hung = paths.resolve(["/nfs/a"], false, noSignal);
  const other = paths.resolve(["/b"], true, noSignal);
  answer("/b");
  assert.deepEqual(await other, [{ path: "/b/real", isDirectory: true }]);
  const made = paths.resolve(["/nfs/a"], true, noSignal);
  assert.deepEqual(asked, ["/nfs/a", "/b 755", "/nfs/a 755"]);
  answer("/nfs/a");
  await made;
  const gone = new AbortController();
  const left = paths.resolve(["/nfs/a"], false, gone.signal);
  gone.abort(new Error("the client went away"));
  await assert.rejects(left, /went away/);
  void hung.catch(() => {});
});

test("an error of the process is the caller's, and the next caller has a process of its own", async () => {
  let asked = 0;
  const paths = new HostPaths(() => Promise.reject(new Error(`EMFILE ${(asked += 1)}`)), 1000);
  await assert.rejects(paths.resolve(["/a"], false, noSignal), /EMFILE 1/);
  await assert.rejects(paths.resolve(["/a"], false, noSignal), /EMFILE 2/);
});
