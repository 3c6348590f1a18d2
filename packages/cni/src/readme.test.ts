import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { AttachmentCache } from "./cache.ts";
import { readConfigDir } from "./config-dir.ts";
import { addNetwork, delNetwork } from "./network.ts";
import { answer, makeFakePlugins } from "./testing/fake-plugins.ts";

test("the README's example works", async () => {
  using fake = makeFakePlugins({ bridge: (call) => answer(call, "10.1.0.5/16") });
  const { exec } = fake.deps;
  const binDirs = [fake.binDir];
  const confDir = join(fake.dir);
  const cacheDir = join(fake.dir, "cache");
  writeFileSync(
    join(confDir, "10-podnet.conflist"),
    '{"cniVersion":"1.0.0","name":"podnet","plugins":[{"type":"bridge"}]}',
  );
  const signal = new AbortController().signal;
  const seen: string[] = [];
  const console = { log: (text: string | undefined) => seen.push(text ?? "") };

  // README
  const { first } = await readConfigDir(confDir);
  if (first === undefined) throw new Error("no network");
  const d = { binDirs, exec, cache: new AttachmentCache(cacheDir), cleanupTimeoutMs: 60_000 };
  const attachment = { containerId: "3f2a", netns: "/run/netns/blue", ifName: "eth0", args: [], capabilityArgs: {} };
  const result = await addNetwork(d, first.list, attachment, signal);
  console.log(result.ips[0]?.address);
  await delNetwork(d, { list: first.list, attachment, result }, signal);
  // end

  assert.deepEqual(seen, ["10.1.0.5/16"]);
  const code =
    /\/\/ README\n([^]*?)\n *\/\/ end\n/
      .exec(readFileSync(import.meta.filename, "utf8"))?.[1]
      ?.replaceAll(/^ {2}/gm, "") ?? "none";
  assert.ok(
    readFileSync(join(import.meta.dirname, "../README.md"), "utf8").includes(code),
    "the example in README.md is a different one",
  );
});
