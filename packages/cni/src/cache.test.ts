import assert from "node:assert/strict";
import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { Code, StatusError } from "@keelson/base/status.ts";
import type { Attachment } from "./attachment.ts";
import { AttachmentCache } from "./cache.ts";
import { parseConfigList } from "./config-list.ts";
import { decodeResult } from "./result.ts";

const list = parseConfigList('{"cniVersion":"1.0.0","name":"podnet","plugins":[{"type":"bridge","x":[1]}]}', "test");
const result = decodeResult({ cniVersion: "1.0.0", ips: [{ address: "10.1.0.5/16" }] }, "1.0.0");
const attachment: Attachment = {
  containerId: "c1",
  netns: "/run/netns/c1",
  ifName: "eth0",
  args: [["K8S_POD_NAME", "web"]],
  capabilityArgs: { portMappings: [{ hostPort: 80 }] },
};

function makeCache(t: TestContext) {
  const dir = mkdtempSync(join(tmpdir(), "keelson-cni-"));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  return { dir, cache: new AttachmentCache(join(dir, "cache")), files: join(dir, "cache", "results") };
}

test("an attachment is read back as it was written, with and without a result", async (t) => {
  const { cache, files } = makeCache(t);
  for (const entry of [
    { attachment, list, result: undefined },
    { attachment, list, result },
  ]) {
    await cache.put(entry);
    assert.deepEqual(await cache.list(), { attachments: [entry], damaged: new Map() });
  }
  assert.deepEqual(readdirSync(files), ["podnet-c1-eth0"]);
  await cache.remove("podnet", "c1", "eth0");
  await cache.remove("podnet", "c1", "eth0");
  assert.deepEqual(await cache.list(), { attachments: [], damaged: new Map() });
});

test("the file has libcni's format", async (t) => {
  const { cache, files } = makeCache(t);
  await cache.put({ attachment, list, result });
  const raw = JSON.parse(readFileSync(join(files, "podnet-c1-eth0"), "utf8")) as Record<string, unknown>;
  assert.equal(raw["kind"], "cniCacheV1");
  assert.deepEqual(raw["cniArgs"], [["K8S_POD_NAME", "web"]]);
  assert.match(Buffer.from(String(raw["config"]), "base64").toString(), /^\{"cniVersion":"1.0.0","name":"podnet"/);
});

test("a container's attachments are found among others", async (t) => {
  const { cache } = makeCache(t);
  assert.deepEqual((await cache.list("c1")).attachments, []); // no directory yet
  for (const containerId of ["c1", "c11", "c2"])
    await cache.put({ attachment: { ...attachment, containerId }, list, result });
  assert.deepEqual(
    (await cache.list("c1")).attachments.map((a) => a.attachment.containerId),
    ["c1"],
  );
  assert.equal((await cache.list()).attachments.length, 3);
});

test("a damaged or misplaced file is reported, and the others are read", async (t) => {
  const { cache, files } = makeCache(t);
  await cache.put({ attachment, list, result });
  const text = readFileSync(join(files, "podnet-c1-eth0"), "utf8");
  copyFileSync(join(files, "podnet-c1-eth0"), join(files, "podnet-c2-eth0"));
  for (let length = 0; length < text.length; length += 7) {
    writeFileSync(join(files, "podnet-c3-eth0"), text.slice(0, length));
    const { attachments, damaged } = await cache.list();
    assert.deepEqual(
      attachments.map((a) => a.attachment.containerId),
      ["c1"],
    );
    assert.deepEqual([...damaged.keys()], [join(files, "podnet-c2-eth0"), join(files, "podnet-c3-eth0")]);
  }
  assert.match(
    (await cache.list("c2")).damaged.get(join(files, "podnet-c2-eth0")) ?? "",
    /is not for the attachment in its name/,
  );
});

test("the remains of an interrupted write are not an attachment, and are swept away", async (t) => {
  const { cache, files } = makeCache(t);
  cache.sweep(); // no directory yet
  await cache.put({ attachment, list, result });
  writeFileSync(join(files, "podnet-c9-eth0.1.1.tmp"), "{");
  assert.deepEqual((await cache.list()).damaged, new Map());
  cache.sweep();
  assert.deepEqual(readdirSync(files), ["podnet-c1-eth0"]);
});

test("an entry that could not be read back is not written", async (t) => {
  const { cache } = makeCache(t);
  const large = { ...attachment, capabilityArgs: { notes: "x".repeat(9 << 20) } };
  await assert.rejects(
    cache.put({ attachment: large, list, result }),
    (error: StatusError) => error.code === Code.ResourceExhausted,
  );
  assert.deepEqual((await cache.list()).attachments, []);
});
