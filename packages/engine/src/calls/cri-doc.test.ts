import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { callNames } from "@keelson/cri/service.ts";
import type { ConfigType } from "@keelson/plan/refused-fields.ts";
import { criDoc, leavesOf, notedPaths, regenerate } from "../testing/cri-doc.ts";
import { FakeNode } from "../testing/fake-node.ts";
import { createHandlers } from "./handlers.ts";

const file = join(import.meta.dirname, "../../../../docs/cri.md");

test("docs/cri.md has every call and field as the daemon treats them", (t) => {
  const node = new FakeNode();
  t.after(() => node[Symbol.dispose]());
  const text = criDoc(new Set(Object.keys(createHandlers(node.deps))));
  if (process.env["KEELSON_WRITE_DOCS"] === "1") writeFileSync(file, text);
  assert.ok(
    readFileSync(file, "utf8") === text,
    `docs/cri.md is out of date; regenerate it and look at what changed: ${regenerate}`,
  );
});

test("docs/cri.md shows each field of the protocol once", () => {
  const text = readFileSync(file, "utf8");
  for (const type of ["PodSandboxConfig", "ContainerConfig", "UpdateContainerResourcesRequest"]) {
    const section = text
      .split(/^## /m)
      .find((part) => part.includes(type) || part.startsWith(type.replace("Request", "")))!;
    for (const leaf of leavesOf(type)) {
      const shown = leaf.split(".").map((_, i, parts) => parts.slice(0, i + 1).join("."));
      assert.equal(shown.filter((path) => section.includes(`| \`${path}\``)).length, 1, leaf);
    }
  }
  assert.equal(
    callNames.filter((name) => text.includes(`| ${name[0]!.toUpperCase()}${name.slice(1)} |`)).length,
    callNames.length,
  );
});

test("notes are about fields that exist", () => {
  for (const type of [
    "PodSandboxConfig",
    "ContainerConfig",
    "UpdateContainerResourcesRequest",
  ] satisfies ConfigType[]) {
    const leaves = leavesOf(type);
    for (const path of notedPaths(type))
      assert.ok(
        leaves.some((leaf) => leaf === path || leaf.startsWith(`${path}.`)),
        `${type}.${path}`,
      );
  }
});
