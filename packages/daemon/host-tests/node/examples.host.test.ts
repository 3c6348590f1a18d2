// examples/: the commands of its README, as they are written there, against a real daemon.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { release } from "node:os";
import { dirname, join, relative } from "node:path";
import { after, before, describe, test } from "node:test";
import { parseConfig } from "@keelson/daemon/config/load.ts";
import { controllerDir, detectCgroups } from "@keelson/linux/cgroup.ts";
import { readStatus } from "@keelson/linux/procfs.ts";
import { linesOf } from "@keelson/testkit/cri-log.ts";
import { skip } from "@keelson/testkit/host-sandbox.ts";
import { busyboxImage } from "@keelson/testkit/image.ts";
import { withoutRuntime } from "@keelson/testkit/runtime-binary.ts";
import { slowness } from "@keelson/testkit/wait.ts";
import { parse } from "yaml";
import { keelctl, TestNode } from "../testing/test-node.ts";

const directory = join(import.meta.dirname, "../../../../examples");
const read = (file: string) => readFileSync(join(directory, file), "utf8");

/** The commands of each part of the README, by its heading. */
const commands = new Map(
  read("README.md")
    .split(/^## /m)
    .slice(1)
    .flatMap((part) => {
      const block = /^```sh\n([^]*?)^```$/m.exec(part)?.[1];
      return block === undefined ? [] : [[part.slice(0, part.indexOf("\n")), block] as const];
    }),
);

test("every file of examples/ is in a command of its README, or is read by a test here", () => {
  const files = readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => relative(directory, join(entry.parentPath, entry.name)));
  const inCommands = [...commands.values()].flatMap((block) =>
    [...block.matchAll(/(?<= )[\w./-]+\.(?:yaml|toml)\b/g)].map(([file]) => file),
  );
  assert.deepEqual(files.sort(), [...new Set([...inCommands, "README.md", "kubelet-config.yaml"])].sort());
});

test("the kubelet's configuration names keelsond's own socket", () => {
  const { apiVersion, kind, containerRuntimeEndpoint } = parse(read("kubelet-config.yaml")) as Record<string, unknown>;
  assert.deepEqual([apiVersion, kind], ["kubelet.config.k8s.io/v1beta1", "KubeletConfiguration"]);
  assert.equal(containerRuntimeEndpoint, parseConfig({}, "the defaults").socket);
});

describe("the examples", { skip }, () => {
  let node: TestNode;
  const ran = new Set<string>();
  before(async () => {
    node = await TestNode.start({ onDisk: true });
    node.registry.add("library/busybox", "1.36", busyboxImage());
    // The examples name Docker's registry, as a person would.
    const mirror = join(node.dir, "certs.d/docker.io");
    mkdirSync(mirror);
    writeFileSync(
      join(mirror, "hosts.toml"),
      `[host."http://${node.registry.host}"]\ncapabilities = ["pull", "resolve"]\n`,
    );
  });
  after(() => node[Symbol.asyncDispose]());

  /** Runs the commands of a part of the README; returns what they print. Not spawnSync: the registry is in this process. */
  async function run(part: string, adjust: (block: string) => string = (block) => block): Promise<string> {
    ran.add(part);
    const { NODE_TEST_CONTEXT: _, ...env } = process.env;
    const child = spawn("sh", ["-euc", adjust(commands.get(part)!)], {
      cwd: directory,
      env: {
        ...env,
        PATH: `${dirname(keelctl)}:${env["PATH"]}`,
        CONTAINER_RUNTIME_ENDPOINT: node.endpoint,
        CRI_CONFIG_FILE: "/dev/null",
        // keelctl is started some twenty times from its sources: this halves what each start takes.
        NODE_COMPILE_CACHE: join(node.dir, "compile-cache"),
      },
      stdio: ["ignore", "pipe", "pipe"],
      timeout: 60_000 * slowness,
    });
    let [stdout, stderr] = ["", ""];
    child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
    child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
    const code = await new Promise((resolve, reject) => child.once("error", reject).once("close", resolve));
    assert.equal(code, 0, `${part}: ${stderr}${stdout}`);
    // Also that no file has a field that the CRI does not have, of which keelctl has a note.
    assert.equal(stderr, part === "log" ? "done\n" : "", part);
    return stdout;
  }

  async function containerNamed(name: string): Promise<string> {
    const { containers } = await node.call("listContainers", { filter: undefined });
    return containers.find((container) => container.metadata?.name === name)!.id;
  }

  test("log: its lines, on the stream that each was written to", async () => {
    assert.equal(await run("log"), "one\ntwo\nthree\n");
    const entries = await node.log(await containerNamed("counter"));
    assert.deepEqual([linesOf(entries, "stdout"), linesOf(entries, "stderr")], [["one", "two", "three"], ["done"]]);
  });

  test("shared-pid: one container sees the other's process, and the pod's init", async () => {
    const ps = await run("shared-pid");
    assert.match(ps, /^ +1 .* \S*keelson-pod-init/m);
    assert.match(ps, / sleep 3600$/m);
    assert.match(ps, / sleep 3601$/m);
  });

  test("limits: they are in the cgroup, and changed while it runs", async () => {
    const listed = await run("limits");
    assert.match(listed, / 101MB +0 +crun/);
    const id = await containerNamed("limited");
    const { cgroup } = await node.containerInfo(id);
    const layout = detectCgroups();
    const file = (controller: string, v1: string, v2: string) =>
      readFileSync(join(controllerDir(layout, cgroup, controller)!, layout.kind === "v2" ? v2 : v1), "utf8").trim();
    assert.equal(file("memory", "memory.limit_in_bytes", "memory.max"), String(96 * 1024 ** 2));
    assert.match(file("cpu", "cpu.cfs_quota_us", "cpu.max"), /^75000( 100000)?$/);
  });

  test("user-namespace: root inside, user 200000 on the machine", async () => {
    assert.match(await run("user-namespace"), /^0\n +0 +200000 +65536\n$/);
    const { pid } = await node.containerInfo(await containerNamed("mapped"));
    assert.equal(readStatus(pid)?.uids[0], 200_000);
  });

  for (const [runtime, kernel] of [
    ["runc", release()],
    ["runsc", "4.4.0"],
  ] as const) {
    test(`handler: the pod runs with ${runtime}, on its kernel`, { skip: withoutRuntime(runtime) }, async () => {
      assert.equal(
        await run("handler", (block) => block.replace("--runtime runc", `--runtime ${runtime}`)),
        `${kernel}\n`,
      );
      const { items } = await node.call("listPodSandbox", { filter: undefined });
      assert.equal(items.filter((pod) => pod.runtimeHandler === runtime).length, 1);
    });
  }

  test("all of them are taken down", async () => {
    await run("Take them down");
    assert.deepEqual((await node.call("listPodSandbox", { filter: undefined })).items, []);
    assert.ok(!existsSync("/run/keelson-examples"));
  });

  test("config.toml is one that keelsond takes", async () => {
    assert.equal(await run("config.toml"), "the configuration is valid\n");
  });

  test("no commands of the README are left out here", () =>
    assert.deepEqual([...ran].sort(), [...commands.keys()].sort()));
});
