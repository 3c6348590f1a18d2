// The daemon is killed while a worker thread unpacks a layer, writes its manifest, or puts a damaged one right.
import assert from "node:assert/strict";
import { execFile, execFileSync } from "node:child_process";
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, beforeEach, describe, test } from "node:test";
import { promisify } from "node:util";
import { skip } from "@keelson/testkit/host-sandbox.ts";
import { makeImage, makeLayer } from "@keelson/testkit/image.ts";
import { directory, file, hardLink, symlink } from "@keelson/testkit/tar.ts";
import { imageSpec, keelsond } from "../testing/test-node.ts";
import { CrashNode } from "./testing/crash-node.ts";
import { assertAgrees, Bystander } from "./testing/crash-rounds.ts";

/** Each step of a worker, and how often it is done before the daemon dies in the next one. */
const points: readonly (readonly [step: string, times: number])[] = [
  ["file", 0],
  ["file", 40],
  ["content", 0],
  ["content", 3],
  ["content", 60],
  ["times", 30],
  ["mkdir", 0],
  ["link", 0],
  ["symlink", 0],
  ["manifest", 0],
  ["manifest", 1],
  ["amend", 0],
];

const layers = [
  makeLayer(
    [
      directory("etc/"),
      file("etc/large", Buffer.alloc(900_000, "large")),
      ...Array.from({ length: 80 }, (_, i) =>
        file(`etc/file-with-a-name-that-fills-the-manifest-${"n".repeat(120)}-${i}`, `content ${i}`),
      ),
      hardLink("etc/same", "etc/large"),
      symlink("etc/link", "large"),
      file("etc/damaged", Buffer.alloc(50_000, "right")),
    ],
    { compression: "none" },
  ),
  // Without an entry for `etc`, which inherits.
  makeLayer([
    file("etc/.wh.same", ""),
    ...Array.from({ length: 500 }, (_, i) => file(`etc/more-${"m".repeat(100)}-${i}`, "")),
  ]),
];

describe("a daemon that is killed while a layer worker", { skip }, () => {
  let crash: CrashNode;
  let bystander: Bystander;
  let image: string;
  let whole: string;
  before(async () => {
    // Beside the layers, their compressed copies are to be cleaned up too.
    crash = await CrashNode.start({ config: "[images]\nkeep_layers = true\n" });
    // Pulled before they were kept.
    await crash.call("removeImage", { image: imageSpec(crash.node.image) });
    await crash.pull(crash.node.image);
    bystander = await Bystander.start(crash);
    const content = makeImage(layers);
    crash.layers.set(content.config.digest, layers.length);
    image = crash.node.registry.add("test/two-layers", "latest", content);
    await crash.pull(image);
    whole = filesOfLayers();
    await crash.call("removeImage", { image: imageSpec(image) });
    await assertAgrees(crash);
  });
  beforeEach(() => crash.call("removeImage", { image: imageSpec(image) }));
  after(() => crash[Symbol.asyncDispose]());

  /** All files of all layers as an archive's digest: names, kinds, modes, owners and contents; `keelsond check` has the times. */
  function filesOfLayers(): string {
    const dir = join(crash.node.root, "layers");
    const diffs = readdirSync(dir)
      .filter((name) => !/^(\.|empty$)/.test(name))
      .sort()
      .map((name) => join(name, "diff"));
    return execFileSync(
      "sh",
      ["-c", 'tar --sort=name --mtime=@0 --numeric-owner -C "$0" -cf - "$@" | sha256sum', dir, ...diffs],
      { encoding: "utf8" },
    );
  }

  async function assertVerifies(): Promise<void> {
    // Not synchronous: the registry is in this process.
    const { stdout } = await promisify(execFile)(keelsond, ["check", "--config", crash.node.configFile]).catch(
      (error: { stdout: string; stderr: string }) => assert.fail(error.stdout + error.stderr),
    );
    assert.match(stdout, /nothing is wrong/);
  }

  async function dieInPull(step: string, times: number): Promise<void> {
    crash.armWorker(step, times);
    await assert.rejects(crash.pull(image));
    assert.match((await crash.diedAt(5000)) ?? "it did not die", new RegExp(`^${step} ${times} `));
    await crash.startAgain();
    await bystander.check();
  }

  for (const [step, times] of points) {
    test(`is at ${step} ${times + 1} leaves nothing, and the retry unpacks every file`, async () => {
      await dieInPull(step, times);
      await assertAgrees(crash);
      assert.equal((await crash.call("imageStatus", { image: imageSpec(image), verbose: false })).image, undefined);
      await crash.pull(image);
      assert.equal(filesOfLayers(), whole);
      await assertVerifies();
      await assertAgrees(crash);
      await crash.call("removeImage", { image: imageSpec(image) });
      await assertAgrees(crash);
    });
  }

  for (const [step, times] of [
    ["content", 40],
    ["rename", 0],
    ["rename", 1],
    ["rename", 2],
    ["rm", 0],
  ] as const) {
    test(`puts a damaged layer right, at ${step} ${times + 1}, has it right after the retry`, async () => {
      await crash.pull(image);
      const dir = join(crash.node.root, "layers");
      const diff = readdirSync(dir)
        .map((name) => join(dir, name, "diff"))
        .find((path) => existsSync(join(path, "etc/damaged")))!;
      for (const name of ["etc/damaged", "etc/link"]) execFileSync("rm", [join(diff, name)]);
      writeFileSync(join(diff, "etc/damaged"), "wrong");
      writeFileSync(join(diff, "../damaged"), "");
      await dieInPull(step, times);
      await crash.pull(image);
      assert.equal(filesOfLayers(), whole);
      await assertVerifies();
      await assertAgrees(crash);
      await crash.call("removeImage", { image: imageSpec(image) });
      await assertAgrees(crash);
    });
  }
});
