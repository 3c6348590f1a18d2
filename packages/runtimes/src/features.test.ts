import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { silentLog } from "@keelson/base/log.ts";
import {
  HandlerFeatures,
  type HandlerFeaturesOptions,
  userNamespacesInFeatures,
  userNamespacesInVersion,
  versionIn,
} from "./features.ts";

const answer = (namespaces: unknown) =>
  JSON.stringify({ ociVersionMin: "1.0.0", ociVersionMax: "1.2.0", linux: { namespaces } });
const able = { recursiveReadOnlyMounts: true, idMapProblem: "" };

/** A runtime that is a shell script. */
function withRuntime(t: TestContext, script: string, over: Partial<HandlerFeaturesOptions> = {}) {
  const dir = mkdtempSync(join(tmpdir(), "keelson-features-"));
  t.after(() => rmSync(dir, { recursive: true }));
  const path = join(dir, "runtime");
  const write = (text: string) => {
    rmSync(path, { force: true });
    writeFileSync(path, `#!/bin/sh\necho "$*" >>${dir}/calls\n${text}\n`);
    chmodSync(path, 0o755);
  };
  write(script);
  const features = new HandlerFeatures({
    name: "r",
    type: "oci",
    path,
    args: ["--flag"],
    runtime: path,
    declared: {},
    sandbox: "none",
    host: able,
    log: silentLog,
    ...over,
  });
  return {
    path,
    features,
    write,
    remove: () => rmSync(path),
    calls: () => readFileSync(join(dir, "calls"), "utf8").trim().split("\n").sort(),
  };
}

test("the namespaces in a runtime's features say whether it has user namespaces", () => {
  assert.equal(userNamespacesInFeatures(answer(["cgroup", "user"])), true);
  assert.equal(userNamespacesInFeatures(answer(["cgroup"])), false);
  for (const without of [answer(null), answer(undefined), JSON.stringify({ ociVersionMax: "1.2.0" })])
    assert.equal(userNamespacesInFeatures(without), false);
});

test("anything else is not taken for an answer", () => {
  const whole = answer(["user"]);
  const wrong = [
    "",
    "unknown command features",
    "null",
    "[]",
    "{}",
    "1",
    answer("user"),
    answer([1]),
    answer(Array.from({ length: 101 }, () => "user")),
    "[".repeat(100_000),
  ];
  for (const text of [...wrong, ...Array.from({ length: whole.length - 1 }, (_, i) => whole.slice(0, i))])
    assert.equal(userNamespacesInFeatures(text), undefined, text.slice(0, 80));
});

test("runtimes from before that command are known by their version", () => {
  assert.ok(userNamespacesInVersion("crun version 1.8.1\ncommit: f8a0\n"));
  assert.ok(userNamespacesInVersion("runc version 1.0.3\n"));
  for (const text of ["", "crun version 0.20\n", "other version 3\n", "a crun version 1.8\n"])
    assert.ok(!userNamespacesInVersion(text), text);
});

test("a runtime is asked once, with its arguments, and again when it has been replaced", async (t) => {
  const { features, write, remove, calls } = withRuntime(t, `echo '${answer(["user"])}'`);
  assert.deepEqual(features.facts, {
    name: "r",
    recursiveReadOnlyMounts: true,
    userNamespaces: false,
    sandbox: "none",
  });
  await Promise.all([features.refresh(), features.refresh()]);
  await features.refresh();
  assert.equal(features.facts.userNamespaces, true);
  assert.deepEqual(calls(), ["--flag --version", "--flag features"]);
  write(`echo '${answer([])}'`);
  await features.refresh();
  assert.equal(features.facts.userNamespaces, false);
  remove();
  await features.refresh();
  assert.equal(calls().length, 4);
});

test("a runtime without the command is asked for its version", async (t) => {
  const { features, calls } = withRuntime(
    t,
    `case "$2" in features) echo unknown command >&2; exit 1;; *) echo crun version 1.8.1;; esac`,
  );
  await features.refresh();
  assert.equal(features.facts.userNamespaces, true);
  assert.equal(features.version, "1.8.1");
  assert.deepEqual(calls(), ["--flag --version", "--flag features"]);
});

test("a runtime that prints garbage, floods or fails has no version and no user namespaces, but may be used", async (t) => {
  for (const script of [
    `yes '${answer(["user"])}' | head -c 1000000`,
    "exit 3",
    "head -c 3000 /dev/urandom",
    "echo version: none",
  ]) {
    const { features } = withRuntime(t, script);
    await features.refresh();
    assert.deepEqual(
      [features.facts.userNamespaces, features.version, features.problem],
      [false, "", undefined],
      script,
    );
  }
});

test("a runtime that crashes or cannot be executed has a problem that names it and says what to do", async (t) => {
  const crashing = withRuntime(t, "kill -SEGV $$");
  await crashing.features.refresh();
  assert.match(
    crashing.features.problem!,
    /^\/.*\/runtime (features|--version) was ended by SIGSEGV; install runtime$/,
  );
  const asked = crashing.calls().length;
  await crashing.features.refresh();
  assert.equal(crashing.calls().length, asked, "asked again at once");
  const plain = withRuntime(t, "");
  writeFileSync(plain.path, "\0\0\0\0");
  await plain.features.refresh();
  assert.match(plain.features.problem!, /runtime cannot be executed: .*ENOEXEC.*; install runtime/);
});

test("a runtime that hangs is given up and has a problem that says so", async (t) => {
  const { features } = withRuntime(t, "exec sleep 1000", { answerTimeoutMs: 200 });
  await features.refresh();
  assert.match(features.problem!, /runtime did not answer (features|--version) within 0.2 s; install runtime/);
  assert.equal(features.facts.userNamespaces, false);
});

test("a shim is asked for its version, and the runtime that it calls for the features", async (t) => {
  const called = withRuntime(t, `echo '${answer(["user"])}'`);
  const shim = withRuntime(t, "printf 'the-shim:\\n  Version:  1.6.20~ds1\\n'", {
    type: "shim",
    args: [],
    runtime: called.path,
  });
  await shim.features.refresh();
  assert.deepEqual(
    [shim.features.version, shim.features.facts.userNamespaces, shim.features.facts.recursiveReadOnlyMounts],
    ["1.6.20~ds1", true, true],
  );
  assert.deepEqual([shim.calls(), called.calls()], [["-v"], ["features"]]);
  called.write(`echo '${answer([])}'`);
  await shim.features.refresh();
  assert.equal(shim.features.facts.userNamespaces, false);
});

test("a shim with its own machines has the features that the configuration declares, as far as this machine has them", async (t) => {
  const kata = { type: "shim", args: [], runtime: undefined } as const;
  const of = async (over: Partial<HandlerFeaturesOptions>) => {
    const { features } = withRuntime(
      t,
      `echo 'Kata Containers containerd shim (Golang): id: "io.containerd.kata.v2", version: 3.2.0, commit: 0'`,
      { ...kata, ...over },
    );
    await features.refresh();
    assert.equal(features.version, "3.2.0");
    return [features.facts.userNamespaces, features.facts.recursiveReadOnlyMounts];
  };
  assert.deepEqual(await of({}), [false, false]);
  const declared = { user_namespaces: true, recursive_read_only_mounts: true };
  assert.deepEqual(await of({ declared }), [true, true]);
  assert.deepEqual(await of({ declared, host: { recursiveReadOnlyMounts: false, idMapProblem: "needs Linux 5.19" } }), [
    false,
    false,
  ]);
});

test("the version is found in what each program prints about itself", () => {
  for (const [text, version] of [
    ["crun version 1.8.1\ncommit: f8a0\n", "1.8.1"],
    ["runc version 1.1.5+ds1\ncommit: 1.1.5\n", "1.1.5+ds1"],
    ["runsc version 0.0~20240729.0\nspec: 1.0.2-dev\n", "0.0~20240729.0"],
    ["runsc version release-20240729.0\n", "release-20240729.0"],
    ["youki version: v0.3.3\n", "0.3.3"],
    ["version", ""],
    ["", ""],
  ] as const) {
    assert.equal(versionIn(text), version, text);
  }
});

test("no handler has features that the machine lacks", async (t) => {
  const { features } = withRuntime(t, `echo '${answer(["user"])}'`, {
    host: { recursiveReadOnlyMounts: false, idMapProblem: "needs Linux 5.19" },
  });
  await features.refresh();
  assert.deepEqual(features.facts, {
    name: "r",
    recursiveReadOnlyMounts: false,
    userNamespaces: false,
    sandbox: "none",
  });
});

test("a shim with a guest has nothing of the node that the configuration does not declare", (t) => {
  const lacks = (over: object) => withRuntime(t, "", over).features.facts.lacks;
  const guest = { type: "shim", sandbox: "container", runtime: undefined } as const;
  assert.deepEqual(lacks(guest), { hostNetwork: true, hostPid: true });
  assert.deepEqual(lacks({ ...guest, declared: { host_network: true, host_devices: false } }), {
    hostPid: true,
    hostDevices: true,
  });
  assert.equal(lacks({ ...guest, declared: { host_network: true, host_pid: true } }), undefined);
  assert.equal(lacks({ type: "shim", sandbox: "none" }), undefined);
  assert.equal(lacks({ type: "oci", sandbox: "container" }), undefined, "gVisor has all that it is asked for");
});

test("a shim that does not know -v is asked for its --version, and one that knows neither has none", async (t) => {
  const shim = { type: "shim", runtime: undefined, args: [] } as const;
  const kata = "Kata Containers containerd shim: id: io.containerd.kata.v2, version: 1.12.1, commit: 25c7b1a";
  const { features, calls } = withRuntime(t, `[ "$1" = --version ] && echo "${kata}" || exit 1`, shim);
  await features.refresh();
  assert.equal(features.version, "1.12.1");
  assert.deepEqual(calls(), ["--version", "-v"]);
  const silent = withRuntime(t, '[ "$1" = -v ] || kill -9 $$', shim);
  await silent.features.refresh();
  assert.deepEqual([silent.features.version, silent.features.problem], ["", undefined]);
});
