import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import fs from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { PodSandboxState } from "@keelson/cri/gen/runtime/v1/api.ts";
import { skip } from "@keelson/testkit/host-sandbox.ts";
import { makeImage, makeLayer } from "@keelson/testkit/image.ts";
import { directory, file, symlink } from "@keelson/testkit/tar.ts";
import { waitFor } from "@keelson/testkit/wait.ts";
import { imageSpec, keelsond, TestNode } from "../testing/test-node.ts";

/** `keelsond check` on the store of a real daemon, while it runs and while it does not. */

interface Printed {
  exitCode: number;
  daemonPid: number | null;
  setAside: number;
  findings: {
    about: string;
    where: string;
    what: string;
    repair: string | null;
    outcome: { is: string; detail: string } | null;
  }[];
}

function run(...args: string[]): Promise<{ exitCode: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    // Not synchronous: the registry is in this process.
    execFile(keelsond, ["check", ...args], (error, stdout, stderr) =>
      resolve({ exitCode: error === null ? 0 : Number(error.code), stdout, stderr }),
    );
  });
}

async function check(node: TestNode, ...args: string[]): Promise<Printed> {
  const { exitCode, stdout, stderr } = await run("--config", node.configFile, "-o", "json", ...args);
  assert.equal(stderr, "");
  return { exitCode, ...(JSON.parse(stdout) as Omit<Printed, "exitCode">) };
}

const whats = (printed: Printed) => printed.findings.map(({ about, what }) => `${about}: ${what}`);

interface TestImage {
  reference: string;
  /** Blobs, lowest first. */
  layers: string[];
  /** Of the middle layer's files. */
  dir: string;
}

async function pullImage(node: TestNode, name: string): Promise<TestImage> {
  const layers = [
    makeLayer([directory("usr/", { mode: 0o711 }), file("usr/base", "b".repeat(50_000))]),
    makeLayer([
      directory("etc/"),
      file("etc/a", "a".repeat(5000)),
      file("etc/b", "b"),
      file("usr/added", name),
      symlink("etc/link", "a"),
      file("etc/\xff odd", "x"),
    ]),
    makeLayer([file("top", "t".repeat(9000))]),
  ];
  const reference = node.registry.add(name, "v1", makeImage(layers));
  await node.call("pullImage", { image: imageSpec(reference), auth: undefined, sandboxConfig: undefined });
  const all = join(node.root, "layers");
  const dir = fs
    .readdirSync(all)
    .map((each) => join(all, each, "diff"))
    .find(
      (each) => fs.existsSync(join(each, "usr/added")) && fs.readFileSync(join(each, "usr/added"), "utf8") === name,
    );
  return { reference, layers: layers.map((layer) => layer.digest), dir: dir! };
}

function damage({ dir }: TestImage): void {
  const fd = fs.openSync(join(dir, "etc/a"), "r+");
  fs.writeSync(fd, "X", 100);
  fs.closeSync(fd);
  fs.rmSync(join(dir, "etc/b"));
  fs.chmodSync(join(dir, "usr"), 0o700);
  fs.writeFileSync(join(dir, "etc/new"), "");
}

const damageFound = [
  "layer: /etc/a: other content",
  "layer: /etc/new does not belong to it",
  "layer: /usr: mode 700, was 711",
  "layer: /etc/b is missing",
];

/** Which layers of an image the registry was asked for since the last call. */
function fetched(node: TestNode, image: TestImage): string[] {
  const found = image.layers.filter((digest) => node.registry.count({ method: "GET", pathIncludes: digest }) > 0);
  node.registry.requests.length = 0;
  return found;
}

async function isPresent(node: TestNode, reference: string): Promise<boolean> {
  return (await node.call("imageStatus", { image: imageSpec(reference), verbose: false })).image !== undefined;
}

const withImageMounted = ({ image }: TestNode) => ({
  command: ["sh", "-c", "while :; do sleep 1; done"],
  mounts: [{ containerPath: "/img", readonly: true, image: imageSpec(image) }],
});

test(
  "a node at work has no findings, beside the daemon, after it was killed, and after it was stopped",
  { skip },
  async () => {
    await using node = await TestNode.start();
    const pod = await node.runPod();
    const running = await node.runContainer(pod, withImageMounted(node));
    const ended = await node.runContainer(pod, "exit 3");
    await node.untilExited(ended);
    const stopped = await node.runPod();
    await node.stopPod(stopped.id);
    const beside = await check(node);
    assert.deepEqual([whats(beside), beside.exitCode, beside.daemonPid], [[], 0, node.pid]);
    const lateEnd = await node.runContainer(pod, "sleep 0.3");
    await node.kill("SIGKILL");
    await waitFor(() => fs.existsSync(join(node.state, "exits", lateEnd)), { message: "it has not ended" });
    assert.deepEqual(whats(await check(node, "--repair")), []);
    await node.startAgain();
    await node.stop();
    assert.deepEqual(whats(await check(node)), []);
    await node.startAgain();
    assert.equal((await node.containerStatus(running)).exitCode, 0);
  },
);

test(
  "damage in a layer is found file by file, and repaired by pulling that layer only, beside the daemon",
  { skip },
  async () => {
    await using node = await TestNode.start();
    const image = await pullImage(node, "app");
    damage(image);
    fetched(node, image);
    const found = await check(node);
    assert.deepEqual([whats(found), found.exitCode], [damageFound, 1]);
    assert.match(found.findings[0]!.where, /^sha256:[0-9a-f]{12} of 127\.0\.0\.1:\d+\/app:v1$/);
    assert.deepEqual(fetched(node, image), []);
    const repaired = await check(node, "--repair");
    assert.deepEqual(
      repaired.findings.map(({ outcome }) => outcome?.is),
      ["repaired", "repaired", "repaired", "repaired"],
      JSON.stringify(repaired.findings),
    );
    assert.equal(repaired.exitCode, 0);
    assert.deepEqual(fetched(node, image), [image.layers[1]]);
    assert.deepEqual(whats(await check(node)), []);
    assert.equal(fs.readFileSync(join(image.dir, "etc/a"), "utf8"), "a".repeat(5000));
    assert.ok(await isPresent(node, image.reference));
  },
);

test(
  "the same while the daemon is stopped, also for a layer that is gone, one without its manifest, and a kept copy",
  { skip },
  async () => {
    await using node = await TestNode.start();
    const image = await pullImage(node, "app");
    await node.stop();
    damage(image);
    fs.mkdirSync(join(node.root, "blobs/sha256"), { recursive: true });
    fs.writeFileSync(join(node.root, "blobs/sha256", "a".repeat(64)), "no such bytes");
    fetched(node, image);
    const found = await check(node);
    assert.deepEqual(whats(found).slice(0, -1), damageFound);
    assert.match(whats(found).at(-1)!, /^blob: its digest is sha256:b8e94499b2e8/);
    const repaired = await check(node, "--repair");
    assert.deepEqual(
      [repaired.exitCode, fetched(node, image)],
      [0, [image.layers[1]]],
      JSON.stringify(repaired.findings),
    );
    fs.rmSync(join(image.dir, "../manifest"));
    assert.match(whats(await check(node)).join(), /^layer: its manifest cannot be read/);
    assert.deepEqual([(await check(node, "--repair")).exitCode, fetched(node, image)], [0, [image.layers[1]]]);
    fs.rmSync(join(image.dir, ".."), { recursive: true });
    assert.match(whats(await check(node)).join(), /^layer: its directory .* is missing$/);
    const again = await check(node, "--repair");
    assert.deepEqual([again.exitCode, fetched(node, image)], [0, [image.layers[1]]], JSON.stringify(again.findings));
    assert.deepEqual(whats(await check(node)), []);
  },
);

test(
  "what cannot be pulled now stays marked: the image is absent, and the next PullImage fetches what is damaged",
  { skip },
  async () => {
    await using node = await TestNode.start();
    const image = await pullImage(node, "app");
    await node.stop();
    damage(image);
    {
      using _ = node.registry.inject({
        kind: "status",
        status: 401,
        headers: { "www-authenticate": 'Basic realm="x"' },
      });
      const left = await check(node, "--repair");
      assert.equal(left.exitCode, 1);
      assert.match(left.findings[0]!.outcome!.detail, /cannot be pulled now: .*(credentials|Unauthori|401).*marked/i);
    }
    await node.startAgain();
    assert.ok(!(await isPresent(node, image.reference)));
    assert.ok(await isPresent(node, node.image), "no other image is hurt");
    fetched(node, image);
    await node.call("pullImage", { image: imageSpec(image.reference), auth: undefined, sandboxConfig: undefined });
    assert.deepEqual(fetched(node, image), [image.layers[1]]);
    assert.ok(await isPresent(node, image.reference));
    assert.deepEqual(whats(await check(node)), []);
  },
);

test(
  "a layer whose directory is removed by hand is pulled again by the next PullImage, and nothing else is",
  { skip },
  async () => {
    await using node = await TestNode.start();
    const image = await pullImage(node, "app");
    fs.rmSync(join(image.dir, ".."), { recursive: true });
    fetched(node, image);
    await node.call("pullImage", { image: imageSpec(image.reference), auth: undefined, sandboxConfig: undefined });
    assert.deepEqual(fetched(node, image), [image.layers[1]]);
    await node.stop();
    fs.rmSync(join(image.dir, ".."), { recursive: true });
    await node.startAgain();
    assert.ok(!(await isPresent(node, image.reference)));
    await node.call("pullImage", { image: imageSpec(image.reference), auth: undefined, sandboxConfig: undefined });
    assert.deepEqual(fetched(node, image), [image.layers[1]]);
  },
);

test(
  "strays and torn files are found and put right one by one; what cannot be read is left to a person",
  { skip },
  async () => {
    await using node = await TestNode.start();
    const pod = await node.runPod();
    const container = await node.runContainer(pod, "while :; do sleep 1; done");
    await node.stop();
    const [stray, unreadable] = ["ab".repeat(32), "cd".repeat(32)];
    fs.mkdirSync(join(node.root, "containers", stray, "upper"), { recursive: true });
    for (const id of [stray, unreadable]) fs.mkdirSync(join(node.state, "pods", id));
    fs.writeFileSync(join(node.state, "exits", stray), "0");
    fs.mkdirSync(join(node.root, "layers/.123-4/diff"), { recursive: true });
    fs.mkdirSync(join(node.root, "layers/deadbeef0000/diff"), { recursive: true });
    fs.writeFileSync(join(node.root, "cni/results", `keel-${stray}-eth0`), '{"kind":');
    {
      using db = new DatabaseSync(join(node.root, "state.db"));
      db.exec(`INSERT INTO pods VALUES ('${unreadable}', '{"id":')`);
    }
    const found = await check(node);
    assert.deepEqual(
      whats(found).map((what) => what.replace(/: .*?cannot be read: .*/, ": cannot be read")),
      [
        "record: cannot be read",
        "network: cannot be read",
        "directory: a container's, which has no record",
        "directory: a pod's, which has no record",
        `file: the exit code of container ${stray.slice(0, 13)}, which has no record`,
        "directory: what a pull or a removal that was cut off left",
        "directory: a layer's, which has no record",
      ],
    );
    const repaired = await check(node, "--repair");
    const left = repaired.findings.filter(({ outcome }) => outcome?.is !== "repaired");
    assert.deepEqual([repaired.exitCode, left.map(({ about, repair }) => [about, repair])], [1, [["record", null]]]);
    assert.match(left[0]!.outcome!.detail, /lists it as NotReady; .*or remove the pod$/);
    await node.startAgain();
    assert.equal((await node.containerStatus(container)).finishedAt, 0n, "what was right was not touched");
    assert.equal((await node.podStatus(unreadable)).state, PodSandboxState.SANDBOX_NOTREADY);
    assert.ok(fs.existsSync(join(node.state, "pods", unreadable)));
    await node.removePod(unreadable);
    assert.deepEqual(whats(await check(node)), []);
  },
);

test(
  "records of images and layers that cannot be read are put right by pulling what they are of",
  { skip },
  async () => {
    await using node = await TestNode.start();
    const image = await pullImage(node, "app");
    for (const table of ["images", "layers"] as const) {
      await node.stop();
      {
        using db = new DatabaseSync(join(node.root, "state.db"));
        db.exec(
          table === "images"
            ? `UPDATE images SET record = json_set(record, '$.config', 5) WHERE record LIKE '%/app:v1%'`
            : `UPDATE layers SET record = json_set(record, '$.sizeBytes', 'many') WHERE record LIKE '%${image.layers[1]}%'`,
        );
      }
      const found = await check(node);
      assert.deepEqual([found.findings.length, found.findings[0]!.about, found.exitCode], [1, "record", 1]);
      const repaired = await check(node, "--repair");
      assert.deepEqual(
        [repaired.exitCode, repaired.findings[0]!.outcome?.is],
        [0, "repaired"],
        JSON.stringify(repaired),
      );
      assert.deepEqual(whats(await check(node)), []);
      await node.startAgain();
      assert.ok(await isPresent(node, image.reference));
    }
    assert.equal((await check(node)).setAside, 2);
  },
);

test(
  "a store of a newer keelsond is refused by a check and by a start, and neither touches anything",
  { skip },
  async () => {
    await using node = await TestNode.start();
    const pod = await node.runPod();
    const container = await node.runContainer(pod, "while :; do sleep 1; done");
    const { pid } = await node.containerInfo(container);
    await node.stop();
    const path = join(node.root, "state.db");
    const setVersion = (version: number) => {
      using db = new DatabaseSync(path);
      db.exec(`PRAGMA user_version=${version}`);
    };
    setVersion(99);
    const before = everythingIn(node.root, node.state);
    const refusal =
      /state\.db: a newer keelsond has given it schema version 99, and this one \(.+\) knows versions up to 2\./;
    for (const repair of [[], ["--repair"]]) {
      const { exitCode, stdout, stderr } = await run("--config", node.configFile, ...repair);
      assert.deepEqual([exitCode, stdout], [2, ""]);
      assert.match(stderr, refusal);
    }
    await assert.rejects(node.startAgain(), refusal);
    assert.deepEqual(everythingIn(node.root, node.state), before);
    assert.ok(fs.existsSync(`/proc/${pid}`), "the container runs on");
    setVersion(2);
    await node.startAgain();
    assert.equal((await node.containerInfo(container)).pid, pid);
  },
);

/** Every file with its size and the time of its last change. */
function everythingIn(...dirs: readonly string[]): string[] {
  return dirs.flatMap((dir) =>
    fs.readdirSync(dir, { recursive: true, encoding: "utf8" }).flatMap((name) => {
      const { size, mtimeNs, ino } = fs.lstatSync(join(dir, name), { bigint: true });
      return `${join(dir, name)} ${ino} ${size} ${mtimeNs}`;
    }),
  );
}

test("what is missing of a pod and a container that should run is told", { skip }, async () => {
  await using node = await TestNode.start();
  const pod = await node.runPod();
  const container = await node.runContainer(pod, "while :; do sleep 1; done");
  const { pid } = await node.containerInfo(container);
  const monitor = Number(/^PPid:\s*(\d+)/m.exec(fs.readFileSync(`/proc/${pid}/status`, "utf8"))![1]);
  await node.stop();
  process.kill(monitor, "SIGKILL");
  fs.writeFileSync(join(node.state, "containers", container, "process.json"), '{"args":["s');
  fs.rmSync(join(node.state, "pods", pod.id, "etc/hosts"));
  const found = whats(await check(node)).join("\n");
  assert.match(found, /^container: its monitor, process \d+, is gone without an exit code$/m);
  assert.match(found, /^container: .*process\.json: is no JSON/m);
  assert.match(found, /^pod: .*\/hosts is missing$/m);
});

test(
  "a daemon that lost its database stops and cleans what it does not know, and keeps the damaged one",
  { skip },
  async () => {
    await using node = await TestNode.start();
    const pod = await node.runPod();
    const container = await node.runContainer(pod, withImageMounted(node));
    const { pid } = await node.containerInfo(container);
    await node.kill("SIGKILL");
    for (const name of fs.readdirSync(node.root)) if (name.startsWith("state.db-")) fs.rmSync(join(node.root, name));
    fs.writeFileSync(join(node.root, "state.db"), "this was a database");
    const found = await check(node);
    assert.equal(found.findings[0]!.about, "database");
    await node.startAgain();
    assert.deepEqual((await node.call("listContainers", { filter: undefined })).containers, []);
    assert.ok(!fs.existsSync(`/proc/${pid}`), "the container that nobody knows was ended");
    assert.match(node.daemonLog(), /database is damaged.*moved aside/);
    assert.equal(fs.readdirSync(node.root).filter((name) => name.startsWith("state.db.damaged-")).length, 1);
    await node.call("pullImage", { image: imageSpec(node.image), auth: undefined, sandboxConfig: undefined });
    await node.runPod();
  },
);

test("exit codes: 0 for a sound store in text, 2 for what cannot be checked", { skip }, async () => {
  await using node = await TestNode.start();
  const sound = await run("--config", node.configFile);
  assert.deepEqual(
    [sound.exitCode, sound.stdout],
    [
      0,
      `checking ${node.root} beside keelsond (pid ${node.pid})\n0 pods, 0 containers, 1 image, 1 layer: nothing is wrong\n`,
    ],
  );
  const none = await run("--root", "/no/such/root");
  assert.deepEqual([none.exitCode, none.stdout], [2, ""]);
  assert.match(none.stderr, /no directory \/no\/such\/root/);
});
