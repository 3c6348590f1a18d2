import assert from "node:assert/strict";
import { chmodSync, globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { AttachedPod } from "./attached-pod.ts";

const readme = readFileSync(join(import.meta.dirname, "../README.md"), "utf8");

/** A plugin that gives every pod the same address. */
const plugin = `#!/bin/sh
[ "$CNI_COMMAND" = ADD ] || exit 0
cat <<END
{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","sandbox":"$CNI_NETNS"}],"ips":[{"address":"10.1.0.5/16","interface":0}]}
END
`;

test("the README's example works", async (t) => {
  const dir = mkdtempSync(join(tmpdir(), "keelson-networks-"));
  // Beside the source, where the packages' names are found.
  const beside = mkdtempSync(join(import.meta.dirname, "../.readme-"));
  t.after(() => [dir, beside].forEach((each) => rmSync(each, { recursive: true })));
  for (const each of ["bin", "net.d"]) mkdirSync(join(dir, each));
  writeFileSync(join(dir, "bin/fixed"), plugin);
  chmodSync(join(dir, "bin/fixed"), 0o755);
  const list = { cniVersion: "1.0.0", name: "podnet", plugins: [{ type: "fixed" }] };
  writeFileSync(join(dir, "net.d/10-podnet.conflist"), JSON.stringify(list));
  const code = /```ts\n([^]*?)```/.exec(readme)?.[1] ?? "";
  writeFileSync(join(beside, "example.ts"), code.replace("/opt/cni/bin", join(dir, "bin")));
  const example = (await import(join(beside, "example.ts"))) as {
    addressesOf: (pod: AttachedPod, confDir: string, cacheDir: string) => Promise<readonly string[]>;
  };
  const pod: AttachedPod = {
    id: "3f2a",
    name: "web",
    namespace: "default",
    uid: "1",
    netnsPath: "/run/netns/web",
    portMappings: [],
    annotations: {},
  };
  assert.deepEqual(await example.addressesOf(pod, join(dir, "net.d"), join(dir, "cache")), ["10.1.0.5"]);
});

test("the README names every file", () => {
  const files = globSync("*.ts", { cwd: import.meta.dirname }).filter((name) => !name.endsWith(".test.ts"));
  assert.deepEqual(
    files.filter((name) => !readme.includes(`\`${name}\``)),
    [],
  );
});
