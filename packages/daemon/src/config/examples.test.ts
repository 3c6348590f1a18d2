// The runtime handlers that docs/runtimes.md and packaging show are ones that keelsond takes.
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { builtInRuntimes, handlersOf } from "@keelson/runtimes/handler-section.ts";
import { parse } from "smol-toml";
import { parse as parseYaml } from "yaml";
import { parseConfig } from "./load.ts";

const root = new URL("../../../../", import.meta.url);
const read = (path: string) => readFileSync(new URL(path, root), "utf8");
const packaged = parseConfig(parse(read("packaging/runtimes.toml")), "packaging/runtimes.toml");
const documentation = read("docs/runtimes.md");
const blocks = (language: string) =>
  [...documentation.matchAll(new RegExp(`^\`\`\`${language}\\n([^]*?)^\`\`\`$`, "gm"))].map(([, text]) => text!);

test("keelsond accepts each section in docs/runtimes.md, and packaging has the same sections", () => {
  const sections = blocks("toml").map((text) => parseConfig(parse(text), "docs/runtimes.md").runtimes);
  assert.ok(sections.length >= 5);
  const shown = Object.assign({}, ...sections) as typeof packaged.runtimes;
  for (const [name, section] of Object.entries(packaged.runtimes)) {
    const [expected] = handlersOf({ [name]: section }).slice(-1);
    assert.deepEqual(handlersOf({ [name]: shown[name]! }).slice(-1)[0], expected, name);
  }
});

test("each RuntimeClass names an existing handler and has its overhead, and the documentation shows it", () => {
  const directory = new URL("packaging/runtimeclasses/", root);
  const files = readdirSync(directory);
  assert.deepEqual(
    files.map((file) => file.replace(".yaml", "")).sort(),
    ["crun", "runc", ...Object.keys(packaged.runtimes)].sort(),
  );
  for (const file of files) {
    const text = readFileSync(new URL(file, directory), "utf8");
    const { apiVersion, kind, metadata, handler, overhead, ...others } = parseYaml(text) as {
      apiVersion: string;
      kind: string;
      metadata: object;
      handler: string;
      overhead?: object;
    };
    assert.deepEqual(
      [apiVersion, kind, metadata, others],
      ["node.k8s.io/v1", "RuntimeClass", { name: handler }, {}],
      file,
    );
    const section = packaged.runtimes[handler];
    assert.ok(section !== undefined || builtInRuntimes.includes(handler), file);
    assert.deepEqual(overhead, section?.overhead && { podFixed: section.overhead }, file);
    if (file !== "crun.yaml")
      assert.ok(
        blocks("yaml").some((block) => block.includes(text.trim())),
        `docs/runtimes.md does not show ${file}`,
      );
  }
});

test("docs/runtimes.md describes every key of a section", () => {
  const { runtimes } = parseConfig({ runtimes: { x: { path: "x", overhead: {} } } }, "x");
  for (const key of [
    ...Object.keys(runtimes["x"]!),
    "args",
    "root",
    "monitor",
    "options",
    "sandbox",
    "base_spec",
    "cni_conf_dir",
  ]) {
    if (!key.endsWith("_all_devices_allowed")) assert.ok(documentation.includes(`\`${key}\``), key);
  }
});
