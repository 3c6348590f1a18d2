import assert from "node:assert/strict";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { silentLog } from "@keelson/base/log.ts";
import { Code, StatusError } from "@keelson/base/status.ts";
import type { CgroupLayout } from "@keelson/linux/cgroup.ts";
import { parseConfig } from "../config/load.ts";
import type { HostFacts } from "../plan/host-facts.ts";
import { findBinary, openRuntimes } from "./runtimes.ts";

const v2: CgroupLayout = { kind: "v2", root: "/sys/fs/cgroup", hierarchies: [] };
const host = { cgroupDriver: "cgroupfs" } as HostFacts;

/** A machine where just these programs are installed. */
function withPrograms(t: TestContext, ...names: string[]) {
  const dir = mkdtempSync(join(tmpdir(), "keelson-runtimes-"));
  mkdirSync(join(dir, "bin"));
  const program = (name: string) => {
    const path = join(dir, "bin", name);
    writeFileSync(path, "#!/bin/sh\n");
    chmodSync(path, 0o755);
    return path;
  };
  const paths = Object.fromEntries(["conmon", ...names].map((name) => [name, program(name)]));
  t.after(() => rmSync(dir, { recursive: true }));
  const open = (table: object, cgroups = v2) => {
    const config = parseConfig({ conmon: paths["conmon"], ...table }, "test.toml");
    return openRuntimes(config, { root: join(dir, "root"), state: join(dir, "state") }, host, cgroups, silentLog);
  };
  return { dir, paths, open };
}

function hasCode(code: number, message: RegExp) {
  return (e: unknown) => e instanceof StatusError && e.code === code && message.test(e.message);
}

test("crun is the default before runc; a pod may name either", (t) => {
  const { paths, open } = withPrograms(t, "crun", "runc");
  const runtimes = open({ runtimes: { crun: { path: paths["crun"] }, runc: { path: paths["runc"] } } });
  assert.equal(runtimes.handler("").name, "crun");
  assert.equal(runtimes.handler("runc").path, paths["runc"]);
  assert.deepEqual(runtimes.all().map((h) => h.name), ["crun", "runc"]);
});

test("the file's default wins", (t) => {
  const { paths, open } = withPrograms(t, "crun", "runc");
  const runtimes = open({ default_runtime: "runc", runtimes: { crun: { path: paths["crun"] }, runc: { path: paths["runc"] } } });
  assert.equal(runtimes.handler("").name, "runc");
});

test("where crun would refuse the cgroups, runc is the default", (t) => {
  const { dir, paths, open } = withPrograms(t, "crun", "runc");
  writeFileSync(join(dir, "cgroup.controllers"), "hugetlb\n");
  const hybrid: CgroupLayout = { kind: "hybrid", root: dir, hierarchies: [{ version: 2, dir, controllers: ["hugetlb"] }] };
  const runtimes = open({ runtimes: { crun: { path: paths["crun"] }, runc: { path: paths["runc"] } } }, hybrid);
  assert.equal(runtimes.handler("").name, "runc");
  assert.equal(runtimes.handler("crun").name, "crun");
});

test("an unknown handler, a missing binary and a missing conmon are told apart", (t) => {
  const { paths, open } = withPrograms(t, "crun");
  const runtimes = open({ runtimes: { crun: { path: paths["crun"] }, kata: { path: "/nonexistent/kata" } } });
  assert.throws(() => runtimes.handler("gvisor"), hasCode(Code.InvalidArgument, /"gvisor" is not configured; there are: .*crun/));
  assert.throws(() => runtimes.handler("kata"), hasCode(Code.FailedPrecondition, /kata: its binary \/nonexistent\/kata is not there/));
  const asked = { default_runtime: "kata", runtimes: { kata: { path: "/nonexistent/kata" } } };
  assert.throws(() => open(asked), hasCode(Code.FailedPrecondition, /default_runtime kata: its binary \/nonexistent\/kata is not there/));
  assert.throws(() => open({ conmon: "/nonexistent/conmon" }), hasCode(Code.FailedPrecondition, /conmon: \/nonexistent\/conmon is not there/));
});

test("a program is found by path or by name, and only when it can be executed", (t) => {
  const { dir, paths } = withPrograms(t, "crun");
  assert.equal(findBinary(paths["crun"]!), paths["crun"]);
  assert.ok(findBinary("sh")?.startsWith("/"));
  writeFileSync(join(dir, "plain"), "");
  assert.equal(findBinary(join(dir, "plain")), undefined);
});
