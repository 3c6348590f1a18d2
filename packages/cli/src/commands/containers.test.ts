import assert from "node:assert/strict";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import {
  ContainerState,
  ContainerStatus,
  type CreateContainerRequest,
  Image,
  type StopContainerRequest,
  type UpdateContainerResourcesRequest,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import { ago, startFakeRuntime } from "../testing/fake-runtime.ts";

process.env.TZ = "UTC";

const imageId = `sha256:${"e".repeat(64)}`;
const webId = "c".repeat(64);
const jobId = "d".repeat(64);

async function withContainers(t: TestContext) {
  const fake = await startFakeRuntime(t);
  const log = join(fake.directory, "1.log");
  fake.images = [Image.fromPartial({ id: imageId, repoTags: ["busybox:1"] })];
  fake.containers = [
    ContainerStatus.fromPartial({
      id: webId,
      metadata: { name: "main", attempt: 1 },
      image: { image: imageId },
      state: ContainerState.CONTAINER_RUNNING,
      createdAt: ago(3700),
      startedAt: ago(3600),
      labels: { "io.kubernetes.pod.name": "web", "io.kubernetes.pod.namespace": "default" },
      logPath: log,
    }),
    ContainerStatus.fromPartial({
      id: jobId,
      metadata: { name: "job" },
      image: { image: "other:2" },
      state: ContainerState.CONTAINER_EXITED,
      createdAt: ago(60),
      startedAt: ago(59),
      finishedAt: ago(58) + 5n,
      exitCode: 3,
    }),
  ];
  writeFileSync(log, "2026-11-21T03:11:32.5Z stdout F hello\n2026-11-21T03:11:33Z stderr F oh\n");
  writeFileSync(join(fake.directory, "0.log"), "2026-11-20T03:11:32Z stdout F before\n");
  return { ...fake, fake, log };
}

const header =
  "CONTAINER           IMAGE               CREATED              STATE               NAME                ATTEMPT             POD ID              POD                 NAMESPACE\n";

test("ps: running containers; -a: all, newest first", async (t) => {
  const { keelctl } = await withContainers(t);
  assert.equal(
    (await keelctl("ps")).out,
    `${header.replace("CREATED              ", "CREATED             ")}ccccccccccccc       eeeeeeeeeeeee       About an hour ago   Running             main                1                   pod1                web                 default\n`,
  );
  assert.equal(
    (await keelctl("ps", "-a")).out,
    `${header}ddddddddddddd       other:2             About a minute ago   Exited              job                 0                   pod1                unknown             unknown\n` +
      "ccccccccccccc       eeeeeeeeeeeee       About an hour ago    Running             main                1                   pod1                web                 default\n",
  );
});

test("ps: the flags choose", async (t) => {
  const { keelctl } = await withContainers(t);
  const ids = async (...flags: string[]) =>
    (await keelctl("ps", "-q", ...flags)).out
      .split("\n")
      .map((id) => id.slice(0, 1))
      .join("");
  assert.equal(await ids("-s", "exited"), "d");
  assert.equal(await ids("-l"), "d");
  assert.equal(await ids("-n2"), "dc");
  assert.equal(await ids("-a", "--image", "busybox:1"), "c");
  assert.equal(await ids("-a", "--image", "unknown:1"), "");
  assert.equal(await ids("-a", "--namespace", "def"), "c");
  assert.equal(await ids("-a", "--name", "^j"), "d");
  assert.equal(await ids("-all=true"), "dc");
  assert.equal(await ids("--all=false"), "c");
});

test("ps -r shows a name for an id, --no-trunc ids in full, -v everything", async (t) => {
  const { keelctl } = await withContainers(t);
  assert.match((await keelctl("ps", "-r")).out, /ccccccccccccc       busybox:1 /);
  assert.match((await keelctl("ps", "--no-trunc")).out, new RegExp(`^${webId}   ${imageId}   `, "m"));
  assert.match(
    (await keelctl("ps", "-v")).out,
    new RegExp(
      `^ID: ${webId}\nPodID: pod1\nNamespace: default\nName: main\nAttempt: 1\nState: Running\nImage: ${imageId}\nCreated: About an hour ago\nLabels:\n`,
    ),
  );
});

test("inspect: times as text, unset fields as null, info inlined", async (t) => {
  const { keelctl } = await withContainers(t);
  const one = JSON.parse((await keelctl("inspect", "ddd")).out) as { status: Record<string, unknown>; info: object };
  assert.deepEqual(one.info, { pid: 42 });
  assert.equal(one.status["finishedAt"], "2026-11-21T03:11:02.000000005Z");
  assert.equal(one.status["resources"], null);
  const running = JSON.parse((await keelctl("inspect", "-q")).out) as {
    status: Record<string, unknown>;
    info?: object;
  };
  assert.equal(running.status["id"], webId);
  assert.equal(running.status["finishedAt"], "0001-01-01T00:00:00Z");
  assert.equal(running.info, undefined);
  assert.equal(
    (await keelctl("inspect", "-o", "table", "ddd")).out,
    `ID: ${jobId}\nName: job\nState: CONTAINER_EXITED\nCreated: About a minute ago\nStarted: 59 seconds ago\nFinished: 57 seconds ago\nExit Code: 3\nInfo: map[info:{"pid":42}]\n`,
  );
});

const containerYaml = "metadata: {name: main}\nimage: {image: 'busybox:1'}\nenvs: [{key: A, value: plain}]\n";
const podYaml = "metadata: {name: web, namespace: default}\n";

test("create, start, stop, rm: the life of a container", async (t) => {
  const { fake, keelctl, log, directory } = await withContainers(t);
  writeFileSync(join(directory, "c.yaml"), containerYaml);
  writeFileSync(join(directory, "p.yaml"), podYaml);
  assert.deepEqual(await keelctl("create", "pod1", join(directory, "c.yaml"), join(directory, "p.yaml")), {
    code: 0,
    out: "ctr3\n",
    err: "",
  });
  const { config } = fake.calls.at(-1)!.request as CreateContainerRequest;
  assert.equal(config!.envs[0]!.value.toString(), "plain");
  assert.equal(config!.image!.userSpecifiedImage, "busybox:1");
  assert.deepEqual(await keelctl("start", "ctr3"), { code: 0, out: "ctr3\n", err: "" });
  assert.deepEqual(await keelctl("stop", "-t", "7", "ctr3"), { code: 0, out: "ctr3\n", err: "" });
  assert.equal((fake.calls.at(-1)!.request as StopContainerRequest).timeout, 7n);
  assert.deepEqual(await keelctl("rm", "ctr3"), { code: 0, out: "ctr3\n", err: "" });
  assert.match((await keelctl("rm", webId)).err, /it is running; stop it first, or use --force/);
  writeFileSync(`${log}.20260101`, "");
  writeFileSync(`${log}x`, "");
  assert.deepEqual(await keelctl("rm", "-f", webId), { code: 0, out: `${webId}\n${webId}\n`, err: "" });
  assert.deepEqual([log, `${log}.20260101`, `${log}x`].map(existsSync), [false, false, true]);
});

test("rm -k leaves the log", async (t) => {
  const { keelctl, log } = await withContainers(t);
  await keelctl("rm", "-fk", webId);
  assert.ok(existsSync(log));
});

test("stop -a stops all running containers, and says so when there are none", async (t) => {
  const { keelctl } = await withContainers(t);
  assert.deepEqual(await keelctl("stop", "-a"), { code: 0, out: `${webId}\n`, err: "" });
  assert.deepEqual(await keelctl("stop", "-a"), { code: 0, out: "No running containers found.\n", err: "" });
  assert.equal((await keelctl("stop", "-a", "x")).code, 1);
  assert.equal((await keelctl("stop")).code, 1);
  assert.equal((await keelctl("start")).code, 1);
});

test("run: pulls, runs the pod, creates, starts; --no-pull skips the pull", async (t) => {
  const fake = await startFakeRuntime(t);
  const files = ["c.yaml", "p.yaml"].map((name) => join(fake.directory, name));
  writeFileSync(files[0]!, containerYaml);
  writeFileSync(files[1]!, podYaml);
  assert.deepEqual(await fake.keelctl("run", ...files), { code: 0, out: "ctr1\n", err: "" });
  assert.deepEqual(
    fake.calls.map((call) => call.name),
    ["runPodSandbox", "pullImage", "createContainer", "startContainer"],
  );
  fake.calls.length = 0;
  await fake.keelctl("run", "--no-pull", ...files);
  assert.deepEqual(
    fake.calls.map((call) => call.name),
    ["runPodSandbox", "createContainer", "startContainer"],
  );
  assert.match((await fake.keelctl("run", "--no-pull", "--with-pull", ...files)).err, /both given/);
});

test("run: when the container cannot be created, the pod that is left is named", async (t) => {
  const fake = await startFakeRuntime(t, { createContainer: () => Promise.reject(new Error("no room")) });
  const files = ["c.yaml", "p.yaml"].map((name) => join(fake.directory, name));
  writeFileSync(files[0]!, containerYaml);
  writeFileSync(files[1]!, podYaml);
  assert.equal(
    (await fake.keelctl("run", ...files)).err,
    "keelctl: pod pod1 runs (`keelctl rmp -f pod1` removes it), but: create container main in pod pod1: no room (Internal)\n",
  );
});

test("exec -s: both streams untouched, the command's exit code, its flags left alone", async (t) => {
  const requests: unknown[] = [];
  const fake = await startFakeRuntime(t, {
    execSync: (request) => {
      requests.push(request);
      return Promise.resolve({ stdout: Buffer.from("out"), stderr: Buffer.from("err\n"), exitCode: 7 });
    },
  });
  fake.containers = [
    ContainerStatus.fromPartial({ id: webId, metadata: { name: "main" }, state: ContainerState.CONTAINER_RUNNING }),
  ];
  assert.deepEqual(await fake.keelctl("exec", "-s", "--timeout", "5", "abc", "sh", "-c", "exit 7", "-s", "-quiet"), {
    code: 7,
    out: "out",
    err: "err\n",
  });
  assert.deepEqual(requests, [{ containerId: "abc", cmd: ["sh", "-c", "exit 7", "-s", "-quiet"], timeout: 5n }]);
  assert.deepEqual(await fake.keelctl("exec", "-s", "--name", "main", "ls", "-l"), {
    code: 7,
    out: `${webId}:\nout`,
    err: "err\n",
  });
  assert.equal((await fake.keelctl("exec", "-sqe", "--name", "main", "ls")).code, 0);
  assert.deepEqual(await fake.keelctl("exec", "-s", "--name", "none", "ls"), {
    code: 0,
    out: "",
    err: "keelctl: no container matches the flags\n",
  });
});

test("logs: the file's text on both streams, with times, the previous attempt, reopened", async (t) => {
  const { fake, keelctl } = await withContainers(t);
  assert.deepEqual(await keelctl("logs", "ccc"), { code: 0, out: "hello\n", err: "oh\n" });
  assert.equal((await keelctl("logs", "-t", "ccc")).out, "2026-11-21T03:11:32.500000000Z hello\n");
  assert.deepEqual(await keelctl("logs", "--tail", "1", "ccc"), { code: 0, out: "", err: "oh\n" });
  assert.deepEqual(await keelctl("logs", "--since", "27.5s", "ccc"), { code: 0, out: "hello\n", err: "oh\n" });
  assert.deepEqual(await keelctl("logs", "--since", "27s", "ccc"), { code: 0, out: "", err: "oh\n" });
  assert.equal((await keelctl("logs", "-p", "ccc")).out, "before\n");
  assert.match((await keelctl("logs", "-r", "ccc")).err, /^keelctl: the log file was reopened\n/);
  assert.equal(fake.calls.filter((call) => call.name === "reopenContainerLog").length, 1);
});

test("logs -f ends when the container has ended", async (t) => {
  const { fake, keelctl } = await withContainers(t);
  fake.containers[0]!.state = ContainerState.CONTAINER_EXITED;
  assert.deepEqual(await keelctl("logs", "-f", "ccc"), { code: 0, out: "hello\n", err: "oh\n" });
});

test("logs: what is impossible is refused", async (t) => {
  const { keelctl } = await withContainers(t);
  assert.match((await keelctl("logs", "ddd")).err, /container ddd has no log/);
  assert.match((await keelctl("logs", "-s", "x", "ccc")).err, /--stream x: must be stdout or stderr/);
  assert.match((await keelctl("logs", "-s", "stdout", "--tail", "1", "ccc")).err, /cannot be used with --stream/);
  assert.equal((await keelctl("logs")).code, 1);
});

test("update: sends what is named, in crictl's and Kubernetes' units", async (t) => {
  const { fake, keelctl } = await withContainers(t);
  const flags = [
    "--cpu-period",
    "100000",
    "--cpu-quota=-1",
    "--cpu-share",
    "512",
    "--memory",
    "512Mi",
    "--memory-swap",
    "-1",
    "--cpuset-cpus",
    "0-1",
    "--oom-score-adj",
    "-5",
    "--hugepages",
    "2MB=4Mi",
    "--unified",
    "memory.high=max",
  ];
  assert.deepEqual(await keelctl("update", ...flags, "ccc", "ddd"), { code: 0, out: "ccc\nddd\n", err: "" });
  const updates = fake.calls
    .filter((call) => call.name === "updateContainerResources")
    .map((call) => call.request as UpdateContainerResourcesRequest);
  assert.deepEqual(
    updates.map((u) => u.containerId),
    ["ccc", "ddd"],
  );
  assert.deepEqual(updates[0]!.linux, {
    cpuPeriod: 100_000n,
    cpuQuota: -1n,
    cpuShares: 512n,
    memoryLimitInBytes: 536_870_912n,
    memorySwapLimitInBytes: -1n,
    oomScoreAdj: -5n,
    cpusetCpus: "0-1",
    cpusetMems: "",
    hugepageLimits: [{ pageSize: "2MB", limit: 4_194_304n }],
    unified: { "memory.high": "max" },
  });
  assert.equal(updates[0]!.windows, undefined);
  await keelctl("update", "--cpu-count", "2", "ccc");
  assert.equal((fake.calls.at(-1)!.request as UpdateContainerResourcesRequest).windows?.cpuCount, 2n);
});

test("update: wrong values are refused", async (t) => {
  const { fake, keelctl } = await withContainers(t);
  for (const [flag, value] of [
    ["--memory", "much"],
    ["--memory", "5i"],
    ["--cpu-quota", "1.5"],
    ["--hugepages", "2MB"],
    ["--unified", "=1"],
  ] as const) {
    const { code, err } = await keelctl("update", flag, value, "ccc");
    assert.equal(code, 1);
    assert.ok(err.startsWith(`keelctl: ${flag} ${value}: must be`), err);
  }
  assert.equal(fake.calls.length, 0);
  assert.match((await keelctl("update", "--memory", "1Gi", "zzz")).err, /update container zzz: no zzz/);
  assert.equal((await keelctl("update")).code, 1);
});
