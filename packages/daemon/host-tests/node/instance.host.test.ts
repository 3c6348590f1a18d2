// One daemon for each root and socket; the command line and the configuration file.
import assert from "node:assert/strict";
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { createCriClient } from "@keelson/cri/client.ts";
import { skip } from "@keelson/testkit/host-sandbox.ts";
import { waitFor } from "@keelson/testkit/wait.ts";
import { imageSpec, keelsond, TestNode } from "../testing/test-node.ts";

function run(...args: string[]) {
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  return spawnSync(keelsond, args, { encoding: "utf8", env, timeout: 5_000 });
}

describe("keelsond", { skip }, () => {
  let dir: string;
  before(() => {
    dir = mkdtempSync("/run/keelson-instance-");
  });
  after(() => rmSync(dir, { recursive: true }));

  const flags = (name: string, socket = name) => [
    "--root",
    join(dir, name, "root"),
    "--state",
    join(dir, name, "state"),
    "--socket",
    `unix://${dir}/${socket}.sock`,
  ];

  test("is one for each root: the second says who has it, and leaves the first alone", async () => {
    await using node = await TestNode.start();
    const second = run("--config", node.configFile, "--socket", `unix://${dir}/second.sock`);
    assert.equal(second.status, 1);
    assert.match(second.stderr, new RegExp(`another keelsond \\(pid ${node.pid}\\) .*${node.root}`));
    assert.equal(second.stderr.trim().split("\n").length, 1, "one line, no stack");
    assert.ok(!existsSync(join(dir, "second.sock")));
    const { image } = await node.call("imageStatus", { image: imageSpec(node.image), verbose: false });
    assert.equal(image?.id, node.imageId);
  });

  test("does not take a socket on which somebody answers, its own kind or not", async () => {
    const path = join(dir, "taken.sock");
    const server = createServer((socket) => socket.on("error", () => undefined).end("mine"));
    await new Promise<void>((resolve) => server.listen(path, resolve));
    const child = spawn(keelsond, flags("taken"), { stdio: ["ignore", "ignore", "pipe"] });
    let stderr = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
    const code = await new Promise((resolve) => child.once("exit", resolve));
    assert.equal(code, 1);
    assert.match(stderr, /taken\.sock: another program already serves there/);
    assert.ok(existsSync(path));
    await new Promise((resolve) => server.close(resolve));

    await using node = await TestNode.start();
    const other = run(
      "--config",
      node.configFile,
      "--root",
      join(dir, "other/root"),
      "--state",
      join(dir, "other/state"),
    );
    assert.equal(other.status, 1);
    assert.match(other.stderr, /k\.sock: another program already serves there/);
    await node.call("version", { version: "" });
  });

  test("replaces the socket that a killed daemon left, and takes its own away when it ends", async () => {
    await using node = await TestNode.start();
    assert.equal(statSync(node.socketPath).mode & 0o777, 0o660);
    await node.kill("SIGKILL");
    assert.ok(existsSync(node.socketPath));
    await node.startAgain();
    await node.call("version", { version: "" });
    await node.stop();
    assert.ok(!existsSync(node.socketPath));
    await node.startAgain();
  });

  test("starts on directories that are not there, and with nothing to run pods on says so", async () => {
    const child = spawn(keelsond, [...flags("fresh"), "--log-level", "error"], {
      stdio: ["ignore", "inherit", "inherit"],
    });
    try {
      await waitFor(() => existsSync(join(dir, "fresh.sock")));
      const client = createCriClient(`unix://${dir}/fresh.sock`);
      const status = await waitFor(() =>
        client.call("status", { verbose: false }, AbortSignal.timeout(2000)).catch(() => undefined),
      );
      assert.equal(status.status?.conditions.find((c) => c.type === "RuntimeReady")?.status, true);
      client.close();
    } finally {
      child.kill("SIGTERM");
      await new Promise((resolve) => child.once("exit", resolve));
    }
    assert.equal(child.exitCode, 0);
  });

  test("goes through a restart with calls under way", async () => {
    await using node = await TestNode.start();
    const pod = await node.runPod();
    const id = await node.runContainer(pod, "trap '' TERM; echo up; sleep 600 & while :; do wait; done");
    await node.untilLogged(id, "up");
    const stopping = node.stopContainer(id, 60).catch((error: unknown) => error);
    const startedMs = performance.now();
    await node.kill("SIGTERM");
    assert.ok(performance.now() - startedMs < 15_000);
    await stopping;
    await node.startAgain();
    await node.stopContainer(id, 0);
    assert.equal((await node.containerStatus(id)).exitCode, 137);
  });

  test("names the key, the file and what is allowed in a file that is wrong, and does not start with it", () => {
    const file = join(dir, "wrong.toml");
    writeFileSync(file, '[images]\nkeep_layer = true\n[log]\nlevel = "loud"\n');
    const checked = run("config", "check", file);
    assert.equal(checked.status, 1);
    assert.match(checked.stderr, /wrong\.toml: images\.keep_layer: unknown key/);
    assert.match(checked.stderr, /wrong\.toml: log\.level: must be .*"info".*not "loud"/);
    const started = run("--config", file, ...flags("wrong"));
    assert.equal(started.status, 1);
    assert.match(started.stderr, /wrong\.toml: images\.keep_layer/);
    assert.ok(!existsSync(join(dir, "wrong")));

    writeFileSync(file, "root = \n");
    assert.match(run("config", "check", file).stderr, /wrong\.toml: line 1/);
    const missing = run("config", "check", join(dir, "missing.toml"));
    assert.deepEqual([missing.status, /missing\.toml: there is no such file/.test(missing.stderr)], [1, true]);
  });

  test("prints a default file that it finds good", () => {
    const file = join(dir, "default.toml");
    const printed = run("config", "default");
    assert.equal(printed.status, 0);
    writeFileSync(file, printed.stdout);
    const checked = run("config", "check", file);
    assert.deepEqual([checked.status, checked.stderr], [0, ""]);
  });

  test("refuses arguments that it does not know", () => {
    const { status, stderr } = run("--no-such-flag");
    assert.deepEqual([status, /no-such-flag/.test(stderr)], [1, true]);
  });

  test("does not start with a runtime or monitor that is not there, and names it", () => {
    const file = join(dir, "runtimes.toml");
    mkdirSync(join(dir, "bad"), { recursive: true });
    for (const [text, words] of [
      ['default_runtime = "kata"\n[runtimes.kata]\npath = "/no/such/kata"\n', /\/no\/such\/kata/],
      ['conmon = "/no/such/conmon"\n', /\/no\/such\/conmon/],
    ] as const) {
      writeFileSync(file, text);
      const { status, stderr } = run("--config", file, ...flags("bad"));
      assert.match(stderr, words);
      assert.equal(status, 1);
    }
    assert.ok(readFileSync(file, "utf8").length > 0);
  });
});

test("a client that is stopped with a connection open does not hold up the daemon's end", { skip }, async () => {
  await using node = await TestNode.start({ network: false });
  const client = createCriClient(node.endpoint);
  await client.call("version", { version: "" }, AbortSignal.timeout(60_000));
  process.kill(node.pid, "SIGTERM");
  // This blocks the client too: it hears nothing of the end.
  const untilEnded = `i=0; while grep -q '^State:.[^Z]' /proc/${node.pid}/status && [ $i -lt 200 ]; do sleep 0.1; i=$((i+1)); done; echo $i`;
  const tenths = Number(execFileSync("sh", ["-c", untilEnded], { encoding: "utf8" }));
  assert.ok(tenths < 200, "it still runs after 20 s");
  await node.stop();
  client.close();
});
