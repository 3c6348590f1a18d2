import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { AttachmentCache } from "@keelson/cni/cache.ts";
import { parseConfigList } from "@keelson/cni/config-list.ts";
import { Conmon } from "@keelson/runtimes/conmon.ts";
import { OciRuntime } from "@keelson/runtimes/oci.ts";
import { lockInstance } from "./instance-lock.ts";

/**
 * The last write of each kind of file, cut off anywhere. Tests of the database are in store/src/database-salvage.test.ts,
 * of a layer's manifest in images/src/layer-manifest.test.ts. What is in STATE (a bundle's config.json and process.json, a
 * pod's hosts) does not outlive a power cut; a kill while it is written leaves a record that is `creating`, which the
 * next start undoes (recovery.test.ts).
 */

function directory(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), "keelson-torn-"));
  t.after(() => rmSync(dir, { recursive: true }));
  return dir;
}

/** Every beginning of some bytes, and each of them with zeros to its length, as file systems leave them. */
function* tornForms(whole: Buffer): Generator<Buffer> {
  for (let end = 0; end < whole.length; end += 1) {
    yield whole.subarray(0, end);
    yield Buffer.concat([whole.subarray(0, end), Buffer.alloc(whole.length - end)]);
  }
}

test("an exit file that is cut off is a number or none, never an error", async (t) => {
  const dir = directory(t);
  const exitsDir = join(dir, "exits");
  const runtime = new OciRuntime({
    name: "crun",
    path: "/bin/false",
    root: join(dir, "crun"),
    args: [],
    conmon: new Conmon("/bin/false", exitsDir),
    systemdCgroup: false,
    cgroups: { kind: "v2", root: dir, hierarchies: [] },
  });
  const container = {
    id: "c",
    sandboxId: "p",
    bundleDir: dir,
    cgroupPath: "/c",
    logPath: "",
    tty: false,
    stdin: false,
    stdinOnce: false,
  };
  for (const bytes of [...tornForms(Buffer.from("137")), Buffer.from("garbage"), Buffer.alloc(4096)]) {
    writeFileSync(join(exitsDir, "c"), bytes);
    const exitCode = (await runtime.exitOf(container))?.exitCode;
    // conmon writes it beside its place and renames it, so a part of a number is none that it wrote.
    assert.ok(exitCode === undefined || Number.isInteger(exitCode), bytes.toString());
  }
});

test("an entry of the CNI cache that is cut off is reported, and the others are read", async (t) => {
  const dir = directory(t);
  const cache = new AttachmentCache(dir);
  const list = parseConfigList(
    JSON.stringify({ cniVersion: "1.0.0", name: "net", plugins: [{ type: "bridge" }] }),
    "10-net.conflist",
  );
  const attachment = (containerId: string) => ({
    containerId,
    netns: "/run/ns",
    ifName: "eth0",
    args: [],
    capabilityArgs: {},
  });
  for (const id of ["aa", "bb"]) await cache.put({ attachment: attachment(id), list, result: undefined });
  const file = join(dir, "results", "net-aa-eth0");
  for (const bytes of tornForms(readFileSync(file))) {
    writeFileSync(file, bytes);
    const { attachments, damaged } = await cache.list();
    assert.deepEqual([attachments.map((entry) => entry.attachment.containerId), [...damaged.keys()]], [["bb"], [file]]);
  }
});

test("what an atomic write leaves when it is cut off is never read", async (t) => {
  const dir = directory(t);
  mkdirSync(join(dir, "results"), { recursive: true });
  writeFileSync(join(dir, "results", "net-aa-eth0.12.1.tmp"), '{"kind":');
  const cache = new AttachmentCache(dir);
  assert.deepEqual(await cache.list(), { attachments: [], damaged: new Map() });
  cache.sweep();
  assert.deepEqual(readdirSync(join(dir, "results")), []);
});

test("whatever is in the lock file, the lock is taken", (t) => {
  const path = join(directory(t), "lock");
  for (const bytes of [...tornForms(Buffer.from("4194304\n")), Buffer.alloc(100_000, 1)]) {
    writeFileSync(path, bytes);
    using _ = lockInstance(path);
    assert.equal(readFileSync(path, "utf8"), `${process.pid}\n`);
  }
});
