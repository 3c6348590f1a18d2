// keelctl against a real daemon: what a person types and reads.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { release } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { skip } from "@keelson/testkit/host-sandbox.ts";
import { busyboxImage } from "@keelson/testkit/image.ts";
import { withoutRuntime } from "@keelson/testkit/runtime-binary.ts";
import { waitFor } from "@keelson/testkit/wait.ts";
import { keelctl, TestNode } from "../testing/test-node.ts";

interface Output {
  code: number | null;
  stdout: string;
  stderr: string;
}

describe("keelctl", { skip }, () => {
  let node: TestNode;
  before(async () => {
    node = await TestNode.start();
  });
  after(() => node[Symbol.asyncDispose]());

  // Not spawnSync: the registry is in this process.
  const run = (...args: string[]) =>
    new Promise<Output>((resolve, reject) => {
      const { NODE_TEST_CONTEXT: _, ...env } = process.env;
      const child = spawn(keelctl, ["-r", node.endpoint, ...args], {
        stdio: ["ignore", "pipe", "pipe"],
        env,
        timeout: 20_000,
      });
      const output: Output = { code: null, stdout: "", stderr: "" };
      child.stdout.setEncoding("utf8").on("data", (text: string) => (output.stdout += text));
      child.stderr.setEncoding("utf8").on("data", (text: string) => (output.stderr += text));
      child.once("error", reject).once("close", (code) => resolve({ ...output, code }));
    });
  const text = async (...args: string[]) => {
    const { code, stdout, stderr } = await run(...args);
    assert.equal(code, 0, `keelctl ${args.join(" ")}: ${stderr}`);
    return stdout;
  };
  const json = async (...args: string[]) => JSON.parse(await text(...args)) as Record<string, never>;

  test("tries the runtime handlers, and leaves nothing, also when it is interrupted", async () => {
    const listed = await text("runtimes");
    assert.match(
      listed,
      /^HANDLER +TYPE +VERSION +FEATURES +PATH +PROBLEM\ncrun \(default\) +oci +\d\S+ +\S+ +\/\S+\/crun +-$/m,
    );
    assert.match(listed, /^runc +oci +\d\S+ +\S+ +\/\S+\/runc +-$/m);
    const checked = await run("runtimes", "--check");
    assert.equal(checked.code, 0, checked.stdout);
    const kernels: [name: string, kernel: string][] = [
      ["crun", release()],
      ["runc", release()],
      ...(withoutRuntime("runsc") === false ? [["runsc", "4.4.0"] as [string, string]] : []),
    ];
    for (const [name, kernel] of kernels) {
      const line = checked.stdout.split("\n").find((one) => one.startsWith(`${name}: `));
      assert.match(line ?? "", /: ok: pod \d+ ms, container \d+ ms, exec \d+ ms; its kernel is Linux /);
      assert.ok(line?.endsWith(` Linux ${kernel}`), line ?? name);
    }
    assert.equal(await text("pods", "-q"), "");

    const child = spawn(keelctl, ["-r", node.endpoint, "runtimes", "--check", "crun"], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const ended = new Promise((resolve) => child.once("close", resolve));
    await waitFor(async () => (await node.call("listPodSandbox", { filter: undefined })).items.length > 0);
    child.kill("SIGINT");
    assert.equal(await ended, 130);
    assert.equal(await text("pods", "-q"), "");
  });

  test("drives a pod from the pull to the removal", async () => {
    const image = node.registry.add("library/demo", "1.0", busyboxImage({ config: { Labels: { of: "keelctl" } } }));
    assert.match(
      await text("pull", image),
      new RegExp(`Image is up to date for ${image.slice(0, image.indexOf("/"))}|sha256:[0-9a-f]{64}`),
    );
    const images = await text("images");
    assert.match(images, /^IMAGE +TAG +IMAGE ID +SIZE$/m);
    assert.match(images, new RegExp(`^${image.replace(":1.0", "")} +1\\.0 +[0-9a-f]{13} +\\S+B$`, "m"));

    const podFile = join(node.dir, "pod.json");
    const containerFile = join(node.dir, "container.json");
    writeFileSync(
      podFile,
      JSON.stringify({
        metadata: { name: "demo", namespace: "default", uid: "demo-uid", attempt: 1 },
        log_directory: join(node.dir, "logs/demo"),
        labels: { app: "demo" },
        linux: {},
      }),
    );
    const labels = { "io.kubernetes.pod.name": "demo", "io.kubernetes.pod.namespace": "default" }; // as a kubelet has it
    writeFileSync(
      containerFile,
      JSON.stringify({
        metadata: { name: "main" },
        labels,
        image: { image },
        command: ["sh", "-c", "echo to stdout; echo to stderr >&2; trap 'exit 3' TERM; while :; do sleep 0.05; done"],
        envs: [{ key: "GREETING", value: "hello" }],
        log_path: "main.log",
        linux: {},
      }),
    );
    const pod = (await text("runp", podFile)).trim();
    assert.match(pod, /^[0-9a-f]{64}$/);
    const id = (await text("create", pod, containerFile, podFile)).trim();
    assert.match(id, /^[0-9a-f]{64}$/);
    assert.match(await text("ps", "-a"), new RegExp(`^${id.slice(0, 13)} +\\S+ +.* +Created +main +1?0? `, "m"));
    assert.equal((await text("start", id)).trim(), id);
    const ps = await text("ps");
    assert.match(ps, /^CONTAINER +IMAGE +CREATED +STATE +NAME +ATTEMPT +POD ID +POD +NAMESPACE/m);
    assert.match(ps, new RegExp(`^${id.slice(0, 13)} .* Running +main +0 +${pod.slice(0, 13)} +demo +default`, "m"));
    assert.match(
      await text("pods", "--label", "app=demo"),
      new RegExp(`^${pod.slice(0, 13)} .* Ready +demo +default +1 `, "m"),
    );
    assert.equal(await text("ps", "-q", "--pod", pod), `${id}\n`);

    assert.equal(
      await text("exec", "-s", id.slice(0, 13), "sh", "-c", "echo $GREETING from $(hostname)"),
      `hello from ${(await node.output(id, "hostname")).trim()}\n`,
    );
    const failed = await run("exec", "-s", id, "sh", "-c", "echo out; echo err >&2; exit 7");
    assert.deepEqual(failed, { code: 7, stdout: "out\n", stderr: failed.stderr });
    assert.match(failed.stderr, /err/);
    await waitFor(async () => (await node.log(id)).length === 2);
    const logs = await run("logs", id);
    assert.deepEqual([logs.stdout, logs.stderr, logs.code], ["to stdout\n", "to stderr\n", 0]);

    const inspected = (await json("inspect", id)) as unknown as {
      status: { state: string; imageId: string; imageRef: string; metadata: { name: string } };
    };
    assert.deepEqual([inspected.status.state, inspected.status.metadata.name], ["CONTAINER_RUNNING", "main"]);
    assert.match(inspected.status.imageId, /^sha256:/);
    const inspectedPod = (await json("inspectp", pod)) as unknown as {
      status: { state: string; network: { ip: string } };
    };
    assert.equal(inspectedPod.status.state, "SANDBOX_READY");
    assert.match(inspectedPod.status.network.ip, /^10\.99\./);
    const inspectedImage = (await json("inspecti", image)) as unknown as {
      status: { id: string; repoTags: string[]; repoDigests: string[] };
    };
    assert.deepEqual(inspectedImage.status.repoTags, [image]);
    assert.equal(inspectedImage.status.id, inspected.status.imageId);
    assert.deepEqual(inspectedImage.status.repoDigests, [inspected.status.imageRef]);

    assert.equal((await text("stop", "-t", "10", id)).trim(), id);
    assert.match(await text("ps", "-a"), new RegExp(`^${id.slice(0, 13)} .* Exited +main`, "m"));
    assert.equal((await node.containerStatus(id)).exitCode, 3);
    assert.equal((await text("rm", id)).trim(), id);
    assert.match(await text("stopp", pod), new RegExp(`Stopped sandbox ${pod}`));
    assert.match(await text("pods"), new RegExp(`^${pod.slice(0, 13)} .* NotReady +demo`, "m"));
    assert.match(await text("rmp", pod), new RegExp(`Removed sandbox ${pod}`));
    assert.match(await text("rmi", image), new RegExp(`Deleted: ${image}`));
    assert.doesNotMatch(await text("images"), /library\/demo/);
    assert.equal((await text("ps", "-a", "-q")) + (await text("pods", "-q")), "");
  });

  test("runs a pod with a container in one go", async () => {
    const podFile = join(node.dir, "run-pod.yaml");
    const containerFile = join(node.dir, "run-container.yaml");
    writeFileSync(
      podFile,
      `metadata: {name: run, namespace: default}\nlog_directory: ${node.dir}/logs/run\nlinux: {}\n`,
    );
    writeFileSync(
      containerFile,
      `metadata: {name: main}\nimage: {image: ${node.image}}\ncommand: [sh, -c, "echo ran; sleep 600"]\nlog_path: main.log\nlinux: {}\n`,
    );
    const id = (await text("run", containerFile, podFile)).trim();
    await node.untilLogged(id, "ran");
    assert.match(await text("rmp", "-fa"), /Removed sandbox/);
    assert.equal(await text("pods", "-q"), "");
  });

  test("tells of the runtime", async () => {
    assert.match(await text("version"), /^RuntimeName: +keelson$/m);
    const info = (await json("info")) as unknown as {
      status: { conditions: { type: string; status: boolean }[] };
      config: { rootDir: string };
    };
    assert.ok(info.status.conditions.every((condition) => condition.status));
    assert.equal(info.config.rootDir, node.root);
  });

  test("says what is wrong and leaves with 1", async () => {
    for (const [args, words] of [
      [["inspect", "0123456789"], /0123456789/],
      [["start", "0123456789"], /0123456789/],
      [["exec", "-s", "0123456789", "true"], /0123456789/],
      [["pull", `${node.registry.host}/library/no-such:1`], /no-such/],
      [["runp", "/no/such/file.json"], /\/no\/such\/file\.json/],
    ] as [string[], RegExp][]) {
      const { code, stderr } = await run(...args);
      assert.equal(code, 1, args.join(" "));
      assert.match(stderr, words);
      assert.doesNotMatch(stderr, /\n {4}at /);
    }
  });
});
