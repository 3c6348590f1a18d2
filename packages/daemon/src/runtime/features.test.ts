import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { silentLog } from "@keelson/base/log.ts";
import { HandlerFeatures, userNamespacesInFeatures, userNamespacesInVersion } from "./features.ts";

const answer = (namespaces: unknown) => JSON.stringify({ ociVersionMin: "1.0.0", ociVersionMax: "1.2.0", linux: { namespaces } });
const able = { recursiveReadOnlyMounts: true, idMapProblem: "" };

/** A runtime that is a shell script. */
function withRuntime(t: TestContext, script: string, host = able) {
  const dir = mkdtempSync(join(tmpdir(), "keelson-features-"));
  t.after(() => rmSync(dir, { recursive: true }));
  const path = join(dir, "runtime");
  const write = (text: string) => {
    rmSync(path, { force: true });
    writeFileSync(path, `#!/bin/sh\necho "$*" >>${dir}/calls\n${text}\n`);
    chmodSync(path, 0o755);
  };
  write(script);
  const features = new HandlerFeatures({ name: "r", path, args: ["--flag"], sandbox: "none", host, log: silentLog });
  return { features, write, remove: () => rmSync(path), calls: () => readFileSync(join(dir, "calls"), "utf8").trim().split("\n") };
}

test("the namespaces in a runtime's features say whether it has user namespaces", () => {
  assert.equal(userNamespacesInFeatures(answer(["cgroup", "user"])), true);
  assert.equal(userNamespacesInFeatures(answer(["cgroup"])), false);
  for (const without of [answer(null), answer(undefined), JSON.stringify({ ociVersionMax: "1.2.0" })]) assert.equal(userNamespacesInFeatures(without), false);
});

test("what is no answer is none, whatever it is", () => {
  const whole = answer(["user"]);
  const wrong = ["", "unknown command features", "null", "[]", "{}", "1", answer("user"), answer([1]), answer(Array.from({ length: 101 }, () => "user")), "[".repeat(100_000)];
  for (const text of [...wrong, ...Array.from({ length: whole.length - 1 }, (_, i) => whole.slice(0, i))]) assert.equal(userNamespacesInFeatures(text), undefined, text.slice(0, 80));
});

test("runtimes from before that command are known by their version", () => {
  assert.ok(userNamespacesInVersion("crun version 1.8.1\ncommit: f8a0\n"));
  assert.ok(userNamespacesInVersion("runc version 1.0.3\n"));
  for (const text of ["", "crun version 0.20\n", "other version 3\n", "a crun version 1.8\n"]) assert.ok(!userNamespacesInVersion(text), text);
});

test("a runtime is asked once, with its arguments, and again when it was replaced", async (t) => {
  const { features, write, remove, calls } = withRuntime(t, `echo '${answer(["user"])}'`);
  assert.deepEqual(features.facts, { name: "r", recursiveReadOnlyMounts: true, userNamespaces: false, sandbox: "none" });
  await Promise.all([features.refresh(), features.refresh()]);
  await features.refresh();
  assert.equal(features.facts.userNamespaces, true);
  assert.deepEqual(calls(), ["--flag features"]);
  write(`echo '${answer([])}'`);
  await features.refresh();
  assert.equal(features.facts.userNamespaces, false);
  remove();
  await features.refresh();
  assert.equal(calls().length, 2);
});

test("one without the command is asked for its version", async (t) => {
  const { features, calls } = withRuntime(t, `case "$2" in features) echo unknown command >&2; exit 1;; *) echo crun version 1.8.1;; esac`);
  await features.refresh();
  assert.equal(features.facts.userNamespaces, true);
  assert.deepEqual(calls(), ["--flag features", "--flag --version"]);
});

test("one that floods, fails or cannot be executed has no user namespaces", async (t) => {
  for (const script of [`yes '${answer(["user"])}' | head -c 1000000`, "kill -9 $$", "exit 3"]) {
    const { features } = withRuntime(t, script);
    await features.refresh();
    assert.equal(features.facts.userNamespaces, false, script);
  }
  const notExecutable = new HandlerFeatures({ name: "r", path: import.meta.filename, args: [], sandbox: "none", host: able, log: silentLog });
  await notExecutable.refresh();
  assert.equal(notExecutable.facts.userNamespaces, false);
});

test("no handler has what the machine has not", async (t) => {
  const { features } = withRuntime(t, `echo '${answer(["user"])}'`, { recursiveReadOnlyMounts: false, idMapProblem: "needs Linux 5.19" });
  await features.refresh();
  assert.deepEqual(features.facts, { name: "r", recursiveReadOnlyMounts: false, userNamespaces: false, sandbox: "none" });
});
