import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { Code, StatusError } from "@keelson/base/status.ts";
import {
  CgroupDriver,
  ContainerEventResponse,
  ContainerEventType,
  ContainerState,
  ContainerStatus,
  PodSandbox,
  PodSandboxStatus,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import { ago, runWith, startFakeRuntime } from "../testing/fake-runtime.ts";

process.env.TZ = "UTC";

test("events: a document or a line for each, filtered; ended by -n, and when the runtime stops", async (t) => {
  const pod = { id: "pod1", metadata: { name: "web", namespace: "default" } };
  const event = (containerId: string, containerEventType: ContainerEventType) =>
    ContainerEventResponse.fromPartial({
      containerId,
      containerEventType,
      createdAt: ago(1),
      podSandboxStatus: pod,
      containersStatuses: [{ id: "ctr1", metadata: { name: "main\u001b" } }],
    });
  const fake = await startFakeRuntime(t, {
    async getContainerEvents(_, write) {
      await write(event("pod1", ContainerEventType.CONTAINER_CREATED_EVENT));
      await write(event("ctr1", ContainerEventType.CONTAINER_STARTED_EVENT));
      await write(event("ctr1", ContainerEventType.CONTAINER_DELETED_EVENT));
    },
  });
  const { code, out, err } = await fake.keelctl("events", "-o", "table");
  assert.equal(code, 1);
  assert.match(err, /the runtime ended the stream of events/);
  assert.equal(
    out,
    "2026-11-21T03:11:59Z  created  pod1  pod default/web\n" +
      "2026-11-21T03:11:59Z  started  ctr1  container main\\x1b of default/web\n" +
      "2026-11-21T03:11:59Z  deleted  ctr1  container main\\x1b of default/web\n",
  );
  const one = await fake.keelctl("events", "--type", "started,deleted", "--id", "ctr", "-n", "1");
  assert.equal(one.code, 0);
  assert.equal((JSON.parse(one.out) as { containerEventType: string }).containerEventType, "CONTAINER_STARTED_EVENT");
  assert.match(
    (await fake.keelctl("events", "-o", "yaml", "--name", "^web$")).out,
    /^---\ncontainerEventType: CONTAINER_CREATED_EVENT\ncontainerId: pod1\n/,
  );
  assert.equal((await fake.keelctl("events", "--namespace", "other")).out, "");
  assert.match((await fake.keelctl("events", "--type", "born")).err, /--type born: must be one of created/);
});

test("runtime-config, update-runtime-config", async (t) => {
  const fake = await startFakeRuntime(t, {
    runtimeConfig: async () => ({ linux: { cgroupDriver: CgroupDriver.SYSTEMD } }),
    updateRuntimeConfig: async () => ({}),
  });
  assert.equal((await fake.keelctl("runtime-config")).out, "cgroup driver: SYSTEMD\n");
  assert.deepEqual(await fake.keelctl("update-runtime-config", "-p", "10.1.0.0/24"), { code: 0, out: "", err: "" });
  assert.deepEqual(fake.calls.at(-1)!.request, { runtimeConfig: { networkConfig: { podCidr: "10.1.0.0/24" } } });
  assert.match((await fake.keelctl("update-runtime-config")).err, /--pod-cidr/);
});

test("checkpoint: says so when the runtime cannot", async (t) => {
  const fake = await startFakeRuntime(t, {
    checkpointContainer: () => Promise.reject(new StatusError(Code.Unimplemented, "not yet")),
  });
  assert.deepEqual(await fake.keelctl("checkpoint", "-e", "x.tar", "abc"), {
    code: 1,
    out: "",
    err: "keelctl: checkpoint: this runtime cannot checkpoint containers\n",
  });
  const able = await startFakeRuntime(t, { checkpointContainer: async () => ({}) });
  assert.deepEqual(await able.keelctl("checkpoint", "-e", "/a/../x.tar", "abc"), { code: 0, out: "abc\n", err: "" });
  assert.deepEqual(able.calls.at(-1)!.request, { containerId: "abc", location: "/x.tar", timeout: 0n });
});

test("config: shows, sets and keeps comments; refuses what is not a setting", async (t) => {
  const { directory } = await startFakeRuntime(t);
  const file = join(directory, "crictl.yaml");
  const run = (...args: string[]) => runWith({}, ["-c", file, "config", ...args]);
  writeFileSync(file, "# ours\ntimeout: 5\n");
  assert.equal((await run("timeout")).out, "5\n");
  assert.equal((await run("--get", "max-retries")).out, "3\n");
  assert.equal((await run("debug=true")).code, 0);
  assert.equal((await run("--set", "runtime-endpoint=unix:///run/x.sock,timeout=7")).code, 0);
  assert.equal(readFileSync(file, "utf8"), "# ours\ntimeout: 7\ndebug: true\nruntime-endpoint: unix:///run/x.sock\n");
  assert.match((await run("--list")).out, /^KEY +VALUE\nruntime-endpoint +unix:\/\/\/run\/x\.sock\n/);
  for (const [pair, words] of [
    ["timeout=soon", /timeout must be a whole number/],
    ["endpoint=x", /endpoint is not a key/],
    ["=x", /must be key=value/],
  ] as const)
    assert.match((await run("--set", pair)).err, words);
  assert.match((await run("nosuch")).err, /nosuch is not a key; the keys are runtime-endpoint/);
});

test("completion: scripts that the shells accept, with every command and flag", async () => {
  const script = async (shell: string) =>
    (await runWith({ env: { CRI_CONFIG_FILE: "/dev/null" } }, ["completion", shell])).out;
  const bash = await script("bash");
  const complete = (...words: string[]) =>
    execFileSync(
      "bash",
      [
        "-c",
        `${bash}\nCOMP_WORDS=(${words.map((word) => `'${word}'`).join(" ")}); COMP_CWORD=${words.length - 1}; _keelctl; printf '%s\\n' "\${COMPREPLY[@]}"`,
      ],
      { encoding: "utf8" },
    )
      .trim()
      .split("\n");
  assert.deepEqual(complete("keelctl", "port"), ["port-forward"]);
  assert.deepEqual(complete("keelctl", "-r", "exec", "st").sort(), ["start", "stats", "statsp", "stop", "stopp"]);
  assert.deepEqual(complete("keelctl", "exec", "--trans"), ["--transport"]);
  assert.deepEqual(complete("keelctl", "--runt"), ["--runtime-endpoint"]);
  assert.deepEqual(complete("keelctl", "runtimes", "--ch"), ["--check"]);
  assert.match(bash, /runtimes\)\n.*keelctl runtimes -q/);
  for (const shell of ["bash", "zsh", "fish"])
    assert.match(await script(shell), /attach[^]*update-runtime-config/, shell);
  assert.match(
    (await runWith({ env: { CRI_CONFIG_FILE: "/dev/null" } }, ["completion", "csh"])).err,
    /must be bash, zsh, fish/,
  );
});

test("ps -o wide and pods -o wide: addresses, exit codes, limits, restarts, handlers", async (t) => {
  const fake = await startFakeRuntime(t);
  fake.pods = [
    PodSandbox.fromPartial({ id: "pod1", metadata: { name: "web", namespace: "default" }, runtimeHandler: "runc" }),
  ];
  fake.containers = [
    ContainerStatus.fromPartial({
      id: "c1",
      metadata: { name: "main", attempt: 4 },
      state: ContainerState.CONTAINER_EXITED,
      exitCode: 137,
      createdAt: 1n,
      resources: { linux: { memoryLimitInBytes: 64_000_000n } },
    }),
    ContainerStatus.fromPartial({
      id: "c2",
      metadata: { name: "side" },
      state: ContainerState.CONTAINER_RUNNING,
      createdAt: 2n,
    }),
  ];
  const rows = (await fake.keelctl("ps", "-a", "-o", "wide")).out
    .trim()
    .split("\n")
    .map((line) => line.split(/ {2,}/).slice(-5));
  assert.deepEqual(rows, [
    ["IP", "EXIT CODE", "MEM LIMIT", "RESTARTS", "HANDLER"],
    ["10.1.2.3", "-", "-", "0", "runc"],
    ["10.1.2.3", "137", "64MB", "4", "runc"],
  ]);
  const pods = (await fake.keelctl("pods", "-o", "wide")).out
    .trim()
    .split("\n")
    .map((line) => line.split(/ {2,}/).slice(-3));
  assert.deepEqual(pods, [
    ["RUNTIME", "IP", "RUNNING"],
    ["runc", "10.1.2.3", "1/2"],
  ]);
});

test("wide lists name the handler that is the default if the runtime says which it is", async (t) => {
  const answers = { telling: '{"handler":"crun"}', silent: '{"pid":7}', broken: '{"handler":' };
  const fake = await startFakeRuntime(t, {
    podSandboxStatus: ({ podSandboxId }) =>
      Promise.resolve({
        status: PodSandboxStatus.fromPartial({ id: podSandboxId }),
        info: { info: answers[podSandboxId as keyof typeof answers] },
        containersStatuses: [],
        timestamp: 0n,
      }),
  });
  fake.pods = Object.keys(answers).map((id) =>
    PodSandbox.fromPartial({ id, metadata: { name: id, namespace: "default" } }),
  );
  const { out } = await fake.keelctl("pods", "-o", "wide");
  assert.deepEqual(
    out
      .trim()
      .split("\n")
      .slice(1)
      .map((line) => line.split(/ {2,}/).at(-3) ?? "")
      .toSorted(),
    ["(default)", "(default)", "crun (default)"],
  );
});
