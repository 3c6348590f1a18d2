import assert from "node:assert/strict";
import { copyFileSync, globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { Spec } from "@keelson/oci/runtime-spec/spec.ts";
import type { HostFacts } from "@keelson/plan/host-facts.ts";
import { logSoFar } from "@keelson/testkit/cri-log.ts";
import { skip } from "@keelson/testkit/host-sandbox.ts";
import type { RuntimeContainer } from "./runtime.ts";

const readme = readFileSync(join(import.meta.dirname, "../README.md"), "utf8");

interface Example {
  readonly exitCodeOf: (
    container: RuntimeContainer,
    spec: Spec,
    options: { host: HostFacts; state: string },
  ) => Promise<number | undefined>;
}

test("the README's example runs a container to its end", { skip }, async (t) => {
  // Beside the source, where the packages' names are found.
  const source = mkdtempSync(join(import.meta.dirname, "../.readme-"));
  t.after(() => rmSync(source, { recursive: true }));
  writeFileSync(join(source, "example.ts"), /```ts\n([^]*?)```/.exec(readme)?.[1] ?? "");
  const { exitCodeOf } = (await import(join(source, "example.ts"))) as Example;

  const dir = mkdtempSync("/run/keelson-readme-");
  t.after(() => rmSync(dir, { recursive: true }));
  const bundleDir = join(dir, "c1");
  for (const name of ["bin", "dev", "proc"]) mkdirSync(join(bundleDir, "rootfs", name), { recursive: true });
  copyFileSync("/bin/busybox", join(bundleDir, "rootfs/bin/busybox"));
  const container: RuntimeContainer = {
    id: "c1",
    sandboxId: "p1",
    bundleDir,
    cgroupPath: "/keelson-readme-c1",
    logPath: join(dir, "logs/0.log"),
    tty: false,
    stdin: false,
    stdinOnce: false,
  };
  const spec: Spec = {
    ociVersion: "1.0.2",
    root: { path: "rootfs" },
    process: {
      args: ["/bin/busybox", "sh", "-c", "echo hello; exit 7"],
      env: ["PATH=/bin"],
      cwd: "/",
      user: { uid: 0, gid: 0 },
    },
    mounts: [{ destination: "/proc", type: "proc", source: "proc" }],
    linux: {
      cgroupsPath: container.cgroupPath,
      namespaces: [{ type: "pid" }, { type: "mount" }, { type: "ipc" }, { type: "uts" }],
    },
  };
  const host = { cgroupDriver: "cgroupfs", recursiveReadOnlyMounts: false, idMapProblem: "" } as HostFacts;
  assert.equal(await exitCodeOf(container, spec, { host, state: join(dir, "state") }), 7);
  assert.deepEqual(
    logSoFar(container.logPath).map(({ text }) => text),
    ["hello"],
  );
});

test("every file that the README names exists, and it names every implementation of Runtime", () => {
  const names = [...readme.matchAll(/`([a-z*-]+\.ts)`/g)].map(([, name]) => name!);
  const dirs = [import.meta.dirname, join(import.meta.dirname, "../../daemon/host-tests/testing")];
  const found = new Set(names.flatMap((name) => dirs.flatMap((cwd) => globSync(name, { cwd }))));
  assert.deepEqual(
    names.filter((name) => !name.includes("*") && !found.has(name)),
    [],
  );
  const implementations = globSync("*.ts", { cwd: import.meta.dirname }).filter(
    (name) =>
      !name.endsWith(".test.ts") && / implements Runtime\b/.test(readFileSync(join(import.meta.dirname, name), "utf8")),
  );
  assert.ok(implementations.length >= 3);
  assert.deepEqual(
    implementations.filter((name) => !found.has(name)),
    [],
  );
});
