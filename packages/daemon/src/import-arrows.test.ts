import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { test } from "node:test";

const packages = join(import.meta.dirname, "../..");

/** Which packages each may import: arrows point down only, and only `daemon` reaches the kernel. */
const allowed: Readonly<Record<string, readonly string[]>> = {
  base: [],
  linux: ["base"],
  cri: ["base"],
  oci: ["base"],
  cni: ["base"],
  spdy: ["base"],
  ttrpc: ["base"],
  shim: ["base", "ttrpc"],
  testkit: ["base"],
  daemon: ["base", "linux", "cri", "oci", "cni", "spdy", "shim"],
  cli: ["base", "cri", "spdy"],
};

/** What planning and state machines must not know: they are pure. Type imports carry no code. */
const pureDirectories = /^daemon\/src\/(plan\/.*|pod\/state|container\/state)/;
const impure = /^(node:|@keelson\/linux\/|(\.\.?\/)+(rpc|runtime|image|network)\/)/;
const impureGlobals = /\b(Date\.now|Math\.random|new Date\(\)|process\.(env|pid|argv))/;

/** Inside the daemon: rooms that must not look up. */
const daemonRooms: Readonly<Record<string, RegExp>> = {
  plan: /\/(rpc|runtime|image|network|pod\/(?!state)|container)\//,
  image: /\/(rpc|runtime|network|pod|container)\//,
  network: /\/(rpc|runtime|image|container)\//,
  runtime: /\/(rpc|image|network|container)\//,
  cdi: /\/(rpc|runtime|image|network|pod|container)\//,
  streaming: /\/(rpc|image|network)\//,
  pod: /\/(rpc|streaming)\//,
  container: /\/rpc\//,
};

interface Import {
  file: string;
  from: string;
  isType: boolean;
}

function importsOf(file: string): Import[] {
  const text = readFileSync(join(packages, file), "utf8");
  const statements = text.matchAll(/^(?:import|export)\s+(type\s)?[^"';]*?from\s+"([^"]+)"|^import\s+"([^"]+)"|\bimport\("([^"]+)"\)/gm);
  return [...statements].map((m) => ({ file, from: m[2] ?? m[3] ?? m[4]!, isType: m[1] !== undefined }));
}

const files = globSync("*/src/**/*.ts", { cwd: packages }).filter((f) => !f.includes("/gen/"));
const product = files.filter((f) => !f.endsWith(".test.ts") && !f.includes("/testing/"));

test("every package is in the table", () => {
  assert.deepEqual([...new Set(files.map((f) => f.split("/")[0]!))].sort(), Object.keys(allowed).sort());
});

test("packages import only what is below them", () => {
  const wrong = product.flatMap(importsOf).filter(({ file, from }) => {
    const target = /^@keelson\/([^/]+)\//.exec(from)?.[1];
    const own = file.split("/")[0]!;
    return target !== undefined && target !== own && !allowed[own]!.includes(target);
  });
  assert.deepEqual(wrong, []);
});

test("what is only for tests is imported by nothing else", () => {
  assert.deepEqual(product.flatMap(importsOf).filter(({ from }) => from.includes("/testing/")), []);
});

test("no relative import leaves its package", () => {
  const wrong = files.flatMap(importsOf).filter(({ file, from }) => {
    if (!from.startsWith(".")) return false;
    return relative(join(packages, file.split("/")[0]!), join(packages, file, "..", from)).startsWith("..");
  });
  assert.deepEqual(wrong, []);
});

test("planning and state machines are pure", () => {
  const pure = product.filter((f) => pureDirectories.test(f));
  assert.ok(pure.length > 10);
  assert.deepEqual(pure.flatMap(importsOf).filter(({ from, isType }) => impure.test(from) && !isType), []);
  assert.deepEqual(pure.filter((f) => impureGlobals.test(readFileSync(join(packages, f), "utf8"))), []);
});

test("inside the daemon nothing imports from a room above it", () => {
  const wrong = product.flatMap(importsOf).filter(({ file, from, isType }) => {
    const room = /^daemon\/src\/([^/]+)\//.exec(file)?.[1];
    const rule = room === undefined ? undefined : daemonRooms[room];
    if (rule === undefined || !from.startsWith(".") || isType) return false;
    return rule.test(`/${relative("daemon/src", join(file, "..", from))}`);
  });
  assert.deepEqual(wrong, []);
});

test("files have names that say their subject, and no default exports or barrels", () => {
  const vague = /\/(util|utils|helper|helpers|common|types|index)\.ts$/;
  assert.deepEqual(product.filter((f) => vague.test(f)), []);
  assert.deepEqual(product.filter((f) => /^export (default|\* from)/m.test(readFileSync(join(packages, f), "utf8"))), []);
});
