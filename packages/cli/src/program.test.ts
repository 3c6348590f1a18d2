import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { Code, StatusError } from "@keelson/base/status.ts";
import { callTimeoutMs } from "./call-timeout.ts";
import { findEndpoint, unreachable, usualEndpoints, waitForEndpoint } from "./endpoint.ts";
import type { Io } from "./io.ts";
import { runWith, startFakeRuntime } from "./testing/fake-runtime.ts";

test("version", async (t) => {
  const fake = await startFakeRuntime(t);
  assert.deepEqual(await fake.keelctl("version"), {
    code: 0,
    err: "",
    out: "Version:  0.1.0\nRuntimeName:  fake\nRuntimeVersion:  1.2.3\nRuntimeApiVersion:  v1\n",
  });
  assert.equal((await fake.keelctl("-v")).out, "keelctl version 0.1.0\n");
});

test("info: the status, handlers and features as crictl spells them, JSON in the info inlined", async (t) => {
  const fake = await startFakeRuntime(t, {
    status: ({ verbose }) =>
      Promise.resolve({
        status: { conditions: [{ type: "RuntimeReady", status: true, reason: "", message: "" }] },
        info: verbose ? { config: '{"a":1}', note: '"text"', broken: "{" } : {},
        runtimeHandlers: [{ name: "", features: { recursiveReadOnlyMounts: true, userNamespaces: false } }],
        features: { supplementalGroupsPolicy: true, userNamespacesHostNetwork: false },
      }),
  });
  const status = { conditions: [{ message: "", reason: "", status: true, type: "RuntimeReady" }] };
  const more = {
    runtimeHandlers: [{ features: { recursive_read_only_mounts: true } }],
    features: { supplemental_groups_policy: true },
  };
  assert.deepEqual(JSON.parse((await fake.keelctl("info", "-q")).out), { status, ...more });
  assert.deepEqual(JSON.parse((await fake.keelctl("info")).out), {
    status,
    ...more,
    config: { a: 1 },
    note: "text",
    broken: "{",
  });
});

test("exit codes of a wrong command line: 3 for the command, 1 for a flag", async () => {
  assert.deepEqual(await runWith({}, ["zzzzzz"]), { code: 3, out: "", err: "keelctl: unknown command 'zzzzzz'\n" });
  assert.deepEqual(await runWith({}, ["ps", "--bogus"]), {
    code: 1,
    out: "",
    err: "keelctl: unknown option '--bogus'\n",
  });
  assert.equal((await runWith({}, ["ps", "--help"])).code, 0);
  for (const args of [[], ["help"], ["--help"]]) {
    const { code, out } = await runWith({}, args);
    assert.equal(code, 0);
    assert.match(out, /Inspect and drive/);
  }
});

test("every command has help with examples", async () => {
  const names = [...(await runWith({}, ["help"])).out.matchAll(/^ {2}([a-z][a-z-]+)/gm)]
    .map((match) => match[1]!)
    .filter((name) => name !== "help" && name !== "keelctl");
  assert.ok(names.length >= 36, names.join(" "));
  for (const name of names) {
    assert.match((await runWith({}, [name, "-h"])).out, /Examples:\n  .*keelctl/, name);
  }
});

test("a runtime that cannot be reached: what is wrong and what to do", async () => {
  const { code, err } = await runWith({ env: { CRI_CONFIG_FILE: "/dev/null" } }, [
    "-r",
    "/nowhere/keelson.sock",
    "--max-retries",
    "1",
    "ps",
  ]);
  assert.equal(code, 1);
  assert.equal(
    err,
    "keelctl: cannot reach unix:///nowhere/keelson.sock: there is no such socket. Is keelsond running? Start it, or name another runtime's socket with -r\n",
  );
  assert.match(unreachable("unix:///x", "ECONNREFUSED"), /nothing listens on it/);
  assert.match(unreachable("unix:///x", "EACCES"), /as root/);
});

test("errors of the runtime keep their text and show their code; control characters do not get through", async (t) => {
  const fake = await startFakeRuntime(t, {
    version: () => Promise.reject(new StatusError(Code.Unavailable, "starting\u001b[2J")),
    status: () => Promise.reject(new StatusError(Code.PermissionDenied, "no")),
  });
  assert.equal((await fake.keelctl("version")).err, "keelctl: starting\\x1b[2J\n");
  assert.equal((await fake.keelctl("info")).err, "keelctl: no (PermissionDenied)\n");
  assert.match((await fake.keelctl("exec", "-s", "x", "ls")).err, /does not know ExecSync/);
});

test("a call that takes too long names the flag; an interrupt says so", async (t) => {
  const fake = await startFakeRuntime(t, {
    version: (_, signal) => setTimeout(60_000, undefined as never, { signal }),
  });
  assert.equal(
    (await fake.keelctl("-t", "20ms", "version")).err,
    "keelctl: Version took longer than 0.02 s. It may still be in progress; give it more time with --timeout\n",
  );
  assert.deepEqual(await fake.keelctlWith({ signal: AbortSignal.timeout(20) }, "version"), {
    code: 1,
    out: "",
    err: "keelctl: interrupted\n",
  });
});

test("a DeadlineExceeded of the runtime is not taken for keelctl's own timeout", async (t) => {
  const message = "the call took longer than its timeout";
  const fake = await startFakeRuntime(t, {
    version: () => Promise.reject(new StatusError(Code.DeadlineExceeded, message)),
  });
  assert.equal((await fake.keelctl("version")).err, `keelctl: ${message} (DeadlineExceeded)\n`);
});

test("-D prints each call with its time", async (t) => {
  const fake = await startFakeRuntime(t);
  assert.match((await fake.keelctl("-D", "version")).err, /^keelctl: Version unix:\/\/\S+ \d+\.\d ms Ok\n$/);
});

test("settings: flag before environment before file, and what is wrong in a file", async (t) => {
  const fake = await startFakeRuntime(t);
  const file = join(fake.directory, "crictl.yaml");
  const env = { CONTAINER_RUNTIME_ENDPOINT: "" };
  writeFileSync(file, `runtime-endpoint: ${fake.endpoint}\ndebug: true\ntimeout: 10\n`);
  assert.match((await fake.keelctlWith({ env }, "-c", file, "version")).err, /^keelctl: Version /);
  assert.equal(
    (
      await fake.keelctlWith(
        { env: { CONTAINER_RUNTIME_ENDPOINT: "unix:///nowhere" } },
        "-c",
        file,
        "-r",
        fake.endpoint,
        "version",
      )
    ).code,
    0,
  );
  writeFileSync(file, "timeout: soon\nruntime-endpont: x\n");
  assert.match(
    (await fake.keelctl("-c", file, "version")).err,
    /crictl\.yaml: timeout must be a whole number of seconds; runtime-endpont is not a key; the keys are runtime-endpoint/,
  );
  assert.match((await fake.keelctl("-c", "/nowhere.yaml", "version")).err, /read the configuration \/nowhere\.yaml/);
  assert.match((await fake.keelctl("-r", "tcp://1.2.3.4:5", "version")).err, /must be unix:/);
});

test("without an endpoint: keelsond's, else the first that answers, with a note", async () => {
  let notes = "";
  const io = {
    stderr: { isTerminal: false, write: (text: string) => ((notes += text), Promise.resolve()) },
  } as unknown as Io;
  assert.equal(await findEndpoint(io, () => Promise.resolve(undefined)), usualEndpoints[0]);
  assert.equal(notes, "");
  assert.equal(
    await findEndpoint(io, (endpoint) => Promise.resolve(endpoint.includes("crio") ? undefined : "ENOENT")),
    "unix:///run/crio/crio.sock",
  );
  assert.match(notes, /using unix:\/\/\/run\/crio\/crio\.sock \(name it with -r\)/);
  await assert.rejects(
    findEndpoint(io, () => Promise.resolve("ENOENT")),
    /is keelsond running\?.*no other runtime/i,
  );
  await assert.rejects(
    findEndpoint(io, (endpoint) => Promise.resolve(endpoint.includes("crio") ? "EACCES" : "ENOENT")),
    /no permission for unix:\/\/\/run\/crio/,
  );
});

test("a named endpoint is tried again with growing pauses, but not when it is forbidden", async () => {
  const pauses: number[] = [];
  const io = {
    stderr: { isTerminal: false },
    signal: new AbortController().signal,
    sleep: (ms: number) => (pauses.push(ms), Promise.resolve()),
  } as unknown as Io;
  await assert.rejects(waitForEndpoint(io, "unix:///x", 3, () => Promise.resolve("ENOENT")));
  assert.deepEqual(pauses, [500, 1000, 2000]);
  await assert.rejects(waitForEndpoint(io, "unix:///x", 3, () => Promise.resolve("EACCES")));
  assert.equal(pauses.length, 3);
});

test("how long calls may take", () => {
  const list = { filter: undefined };
  const stop = { containerId: "x", timeout: 30n };
  assert.equal(callTimeoutMs("listContainers", list, undefined), 2000);
  assert.equal(callTimeoutMs("stopContainer", stop, undefined), 150_000);
  assert.equal(callTimeoutMs("stopContainer", stop, 5000), 35_000);
  assert.equal(callTimeoutMs("runPodSandbox", { config: undefined, runtimeHandler: "" }, 5000), 10_000);
  assert.equal(callTimeoutMs("execSync", { containerId: "x", cmd: [], timeout: 0n }, 5000), undefined);
  assert.equal(callTimeoutMs("execSync", { containerId: "x", cmd: [], timeout: 3n }, 5000), 8000);
  assert.equal(
    callTimeoutMs("pullImage", { image: undefined, auth: undefined, sandboxConfig: undefined }, 5000),
    undefined,
  );
});

test("bin/keelctl starts through a symbolic link from any directory", async (t) => {
  const fake = await startFakeRuntime(t);
  const link = join(fake.directory, "kc");
  symlinkSync(join(import.meta.dirname, "../../../bin/keelctl"), link);
  assert.equal(execFileSync(link, ["-v"], { cwd: "/", encoding: "utf8" }), "keelctl version 0.1.0\n");
});
