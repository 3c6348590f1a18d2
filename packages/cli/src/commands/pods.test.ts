import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { PodSandbox, PodSandboxState, type RunPodSandboxRequest } from "@keelson/cri/gen/runtime/v1/api.ts";
import { ago, startFakeRuntime } from "../testing/fake-runtime.ts";

process.env.TZ = "UTC";

async function withPods(t: TestContext) {
  const fake = await startFakeRuntime(t);
  fake.pods = [
    PodSandbox.fromPartial({
      id: "a".repeat(64),
      metadata: { name: "web", namespace: "default", uid: "u1", attempt: 1 },
      createdAt: ago(130),
      labels: { app: "web" },
      annotations: { note: "a\u001b[2J" },
    }),
    PodSandbox.fromPartial({
      id: "b".repeat(64),
      metadata: { name: "dns\u001b[31m", namespace: "kube-system" },
      createdAt: ago(5),
      state: PodSandboxState.SANDBOX_NOTREADY,
      runtimeHandler: "gvisor",
    }),
  ];
  return fake;
}

test("pods: a table, newest first, that no name can break", async (t) => {
  const fake = await withPods(t);
  assert.deepEqual(await fake.keelctl("pods"), {
    code: 0,
    err: "",
    out: `
POD ID              CREATED             STATE               NAME                NAMESPACE           ATTEMPT             RUNTIME
bbbbbbbbbbbbb       5 seconds ago       NotReady            dns\\x1b[31m         kube-system         0                   gvisor
aaaaaaaaaaaaa       2 minutes ago       Ready               web                 default             1                   (default)
`.trimStart(),
  });
});

test("pods -v: every pod in full", async (t) => {
  const fake = await withPods(t);
  const { out } = await fake.keelctl("pods", "-v", "--name", "^web$");
  assert.equal(
    out,
    `ID: ${"a".repeat(64)}
Name: web
UID: u1
Namespace: default
Attempt: 1
Status: Ready
Created: 2026-11-21 03:09:50 +0000 UTC
Labels:
	app -> web
Annotations:
	note -> a\\x1b[2J
Runtime: (default)

`,
  );
});

test("pods: the flags choose", async (t) => {
  const fake = await withPods(t);
  const ids = async (...flags: string[]) =>
    (await fake.keelctl("pods", "-q", ...flags)).out
      .split("\n")
      .map((id) => id.slice(0, 1))
      .join("");
  assert.equal(await ids(), "ba");
  assert.equal(await ids("-l"), "b");
  assert.equal(await ids("-n", "1"), "b");
  assert.equal(await ids("--last=0"), "ba");
  assert.equal(await ids("--namespace", "(?i)^KUBE"), "b");
  assert.equal(await ids("-s", "Ready"), "a");
  assert.equal(await ids("--id", "aaa"), "a");
  assert.equal(await ids("--name", "none"), "");
  await fake.keelctl("pods", "--label", "app=web,tier=1", "--label", "x=");
  assert.deepEqual((fake.calls.at(-1)!.request as { filter: { labelSelector: object } }).filter.labelSelector, {
    app: "web",
    tier: "1",
    x: "",
  });
});

test("pods: wrong flags are refused with what is allowed", async (t) => {
  const fake = await withPods(t);
  const err = async (...flags: string[]) => {
    const { code, err, out } = await fake.keelctl("pods", ...flags);
    assert.equal(code, 1);
    assert.equal(out, "");
    return err;
  };
  assert.equal(await err("-s", "up"), "keelctl: --state up: must be one of ready, notready\n");
  assert.equal(await err("--label", "x"), "keelctl: --label x: must be key=value\n");
  assert.equal(await err("--name", "("), "keelctl: --name (: not a regular expression\n");
  assert.equal(await err("-n", "two"), "keelctl: --last two: must be a whole number\n");
  assert.equal(await err("-o", "xml"), "keelctl: -o xml: must be one of table, wide, json, yaml\n");
  assert.match(await err("-o", "go-template"), /keelctl has no Go templates/);
});

test("pods -o json and yaml: protojson with defaults", async (t) => {
  const fake = await withPods(t);
  const { out } = await fake.keelctl("pods", "-o", "json", "-l");
  assert.deepEqual(JSON.parse(out), {
    items: [
      {
        id: "b".repeat(64),
        metadata: { name: "dns\u001b[31m", uid: "", namespace: "kube-system", attempt: 0 },
        state: "SANDBOX_NOTREADY",
        createdAt: String(ago(5)),
        labels: {},
        annotations: {},
        runtimeHandler: "gvisor",
      },
    ],
  });
  assert.match((await fake.keelctl("pods", "-o", "yaml")).out, /^items:\n- annotations: \{\}\n  createdAt: "1795/);
});

test("inspectp: status and info, one object or a list, or a table", async (t) => {
  const fake = await withPods(t);
  const one = JSON.parse((await fake.keelctl("inspectp", "aaa")).out) as {
    status: Record<string, unknown>;
    info: object;
  };
  assert.deepEqual(Object.keys(one), ["info", "status"]);
  assert.deepEqual(one.info, { pid: 7 });
  assert.equal(one.status["createdAt"], "2026-11-21T03:09:50Z");
  assert.equal(one.status["linux"], null);
  assert.equal((JSON.parse((await fake.keelctl("inspectp", "aaa", "bbb")).out) as unknown[]).length, 2);
  assert.equal(
    (await fake.keelctl("inspectp", "-q", "-o", "table", "--name", "web")).out,
    `ID: ${"a".repeat(64)}
Name: web
UID: u1
Namespace: default
Attempt: 1
Status: SANDBOX_READY
Created: 2026-11-21 03:09:50 +0000 UTC
IP Addresses: 10.1.2.3
Labels:
	app -> web
`,
  );
  assert.deepEqual(await fake.keelctl("inspectp", "--name", "none"), {
    code: 0,
    out: "",
    err: "keelctl: no pod matches\n",
  });
  assert.deepEqual(await fake.keelctl("inspectp", "zzz"), { code: 1, out: "", err: "keelctl: no zzz (NotFound)\n" });
});

test("runp: reads the file, gives it a uid, prints the id", async (t) => {
  const fake = await startFakeRuntime(t);
  const file = join(fake.directory, "pod.yaml");
  writeFileSync(file, "metadata: {name: web, namespace: default}\nlog_directory: /tmp\n");
  assert.deepEqual(await fake.keelctl("runp", "-r", "gvisor", file), { code: 0, out: "pod1\n", err: "" });
  const { config, runtimeHandler } = fake.calls.at(-1)!.request as RunPodSandboxRequest;
  assert.equal(runtimeHandler, "gvisor");
  assert.match(config!.metadata!.uid, /^[0-9a-f-]{36}$/);
  assert.equal(config!.logDirectory, "/tmp");
  const fromStdin = { readStdin: () => Promise.resolve('{"metadata":{"name":"a","namespace":"b"}}') };
  assert.equal((await fake.keelctlWith(fromStdin, "runp", "-")).out, "pod2\n");
});

test("stopp and rmp say what they did; rmp refuses a running pod unless --force is given", async (t) => {
  const fake = await withPods(t);
  const id = "a".repeat(64);
  assert.deepEqual(await fake.keelctl("rmp", id), {
    code: 1,
    out: "",
    err: `keelctl: remove pod ${id}: it is running; stop it first, or use --force\n`,
  });
  assert.deepEqual(await fake.keelctl("stopp", id), { code: 0, out: `Stopped sandbox ${id}\n`, err: "" });
  assert.deepEqual(await fake.keelctl("rmp", id), { code: 0, out: `Removed sandbox ${id}\n`, err: "" });
  assert.deepEqual(await fake.keelctl("rmp", "-fa"), { code: 0, out: `Removed sandbox ${"b".repeat(64)}\n`, err: "" });
  assert.deepEqual(await fake.keelctl("rmp", "-a"), { code: 0, out: "", err: "keelctl: no pods to remove\n" });
});

test("rmp continues after an error, and reports every one", async (t) => {
  const fake = await withPods(t);
  const { code, out, err } = await fake.keelctl("rmp", "x1", "b".repeat(64), "x2");
  assert.deepEqual([code, out], [1, `Removed sandbox ${"b".repeat(64)}\n`]);
  assert.equal(err, "keelctl: remove pod x1: no x1 (NotFound)\nremove pod x2: no x2 (NotFound)\n");
});

test("without arguments runp, stopp and rmp show their help and exit with 0, like crictl", async (t) => {
  const fake = await startFakeRuntime(t);
  for (const command of ["runp", "stopp", "rmp"]) {
    const { code, out, err } = await fake.keelctl(command);
    assert.equal(code, 0);
    assert.match(out, new RegExp(`^Usage: keelctl ${command} `));
    assert.match(err, new RegExp(`^keelctl: ${command}: name the `));
  }
});
