import assert from "node:assert/strict";
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { silentLog } from "@keelson/base/log.ts";
import { Code, StatusError } from "@keelson/base/status.ts";
import type { CgroupLayout } from "@keelson/linux/cgroup.ts";
import type { HostFacts } from "@keelson/plan/host-facts.ts";
import * as v from "valibot";
import { findBinary } from "./find-program.ts";
import { handlerSection } from "./handler-section.ts";
import type { ProgramCheck } from "./program-check.ts";
import { openRuntimes } from "./runtimes.ts";

const v2: CgroupLayout = { kind: "v2", root: "/sys/fs/cgroup", hierarchies: [] };
const host = { cgroupDriver: "cgroupfs" } as HostFacts;

/** Their part of the configuration file. */
interface Table {
  readonly conmon?: string;
  readonly default_runtime?: string;
  readonly runtimes?: object;
}

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
  const open = (
    { conmon = paths["conmon"]!, default_runtime: defaultRuntime, runtimes = {} }: Table,
    cgroups = v2,
    check?: ProgramCheck,
  ) =>
    openRuntimes({
      check,
      settings: { conmon, defaultRuntime, sections: v.parse(v.record(v.string(), handlerSection), runtimes) },
      paths: { state: join(dir, "state") },
      host,
      cgroups,
      log: silentLog,
    });
  return { dir, paths, open };
}

function hasCode(code: number, message: RegExp) {
  return (e: unknown) => e instanceof StatusError && e.code === code && message.test(e.message);
}

test("a handler whose runtime or monitor must not be used takes no new pods, and stays for those that run", async (t) => {
  const { paths, open } = withPrograms(t, "crun", "runc");
  const refused = new Set([paths["crun"]]);
  const looked: string[] = [];
  const runtimes = open({ runtimes: { crun: { path: paths["crun"] }, runc: { path: paths["runc"] } } }, v2, {
    look: (programs) => (looked.push(...programs.map(({ path }) => path)), Promise.resolve()),
    refusal: (path) => (refused.has(path) ? `${path} has known holes` : undefined),
  });
  await runtimes.refreshFacts();
  for (const path of Object.values(paths)) assert.ok(looked.includes(path), path);
  assert.throws(
    () => runtimes.handler("crun"),
    hasCode(Code.FailedPrecondition, /handler crun: .*crun has known holes/),
  );
  assert.equal(runtimes.handler("runc").refusal(), undefined);
  assert.match(runtimes.handlerOf("crun").refusal()!, /crun has known holes/);
  assert.match(runtimes.problem()!, /crun has known holes/);
  refused.add(paths["conmon"]);
  assert.throws(
    () => runtimes.handler("runc"),
    hasCode(Code.FailedPrecondition, /handler runc: .*conmon has known holes/),
  );
});

test("crun is the default before runc; a pod may name either", (t) => {
  const { paths, open } = withPrograms(t, "crun", "runc");
  const runtimes = open({ runtimes: { crun: { path: paths["crun"] }, runc: { path: paths["runc"] } } });
  assert.equal(runtimes.handler("").name, "crun");
  assert.equal(runtimes.handler("runc").path, paths["runc"]);
  assert.deepEqual(
    runtimes
      .all()
      .map((h) => h.name)
      .slice(0, 2),
    ["crun", "runc"],
  );
});

test("the configured default wins", (t) => {
  const { paths, open } = withPrograms(t, "crun", "runc");
  const runtimes = open({
    default_runtime: "runc",
    runtimes: { crun: { path: paths["crun"] }, runc: { path: paths["runc"] } },
  });
  assert.equal(runtimes.handler("").name, "runc");
});

test("where crun would refuse the cgroups, runc is the default", (t) => {
  const { dir, paths, open } = withPrograms(t, "crun", "runc");
  writeFileSync(join(dir, "cgroup.controllers"), "hugetlb\n");
  const hybrid: CgroupLayout = {
    kind: "hybrid",
    root: dir,
    hierarchies: [{ version: 2, dir, controllers: ["hugetlb"] }],
  };
  const runtimes = open({ runtimes: { crun: { path: paths["crun"] }, runc: { path: paths["runc"] } } }, hybrid);
  assert.equal(runtimes.handler("").name, "runc");
  assert.equal(runtimes.handler("crun").name, "crun");
});

test("an unknown handler, a missing binary and a missing conmon are different errors", (t) => {
  const { paths, open } = withPrograms(t, "crun");
  const runtimes = open({ runtimes: { crun: { path: paths["crun"] }, kata: { path: "/nonexistent/kata" } } });
  assert.throws(
    () => runtimes.handler("gvisor"),
    hasCode(Code.InvalidArgument, /"gvisor" is not configured; there are: .*crun/),
  );
  assert.throws(
    () => runtimes.handler("kata"),
    hasCode(
      Code.FailedPrecondition,
      /kata: its binary \/nonexistent\/kata is not there; install kata or set runtimes\.kata\.path/,
    ),
  );
  const asked = { default_runtime: "kata", runtimes: { kata: { path: "/nonexistent/kata" } } };
  assert.throws(
    () => open(asked),
    hasCode(Code.FailedPrecondition, /default_runtime kata: its binary \/nonexistent\/kata is not there/),
  );
  assert.throws(
    () => open({ conmon: "/nonexistent/conmon" }),
    hasCode(Code.FailedPrecondition, /conmon: \/nonexistent\/conmon is not there/),
  );
});

test("a binary that is installed later needs no restart; one that is removed is named until it is back", async (t) => {
  const { dir, paths, open } = withPrograms(t, "crun");
  const late = join(dir, "bin/late");
  const runtimes = open({ default_runtime: "crun", runtimes: { crun: { path: paths["crun"] }, late: { path: late } } });
  const problem = `its binary ${late} is not there; install late or set runtimes.late.path`;
  assert.deepEqual(runtimes.missing(), [{ name: "late", type: "oci", path: late, isConfigured: true, problem }]);
  copyFileSync(paths["crun"]!, late);
  assert.equal(runtimes.handler("late").path, late);
  assert.deepEqual(runtimes.missing(), []);
  rmSync(late);
  const gone = hasCode(
    Code.FailedPrecondition,
    /^runtime handler late: the runtime \/.*\/late is not there any more; install late$/,
  );
  assert.throws(() => runtimes.handler("late"), gone);
  assert.equal(runtimes.handlerOf("late").name, "late", "its containers can still be removed");
  assert.equal(runtimes.problem(), undefined, "the others are not affected");
  copyFileSync(paths["crun"]!, late);
  assert.equal(runtimes.handler("late").problem(), undefined);
});

test("the first handler that is installed becomes the default", (t) => {
  const { dir, open } = withPrograms(t);
  const path = join(dir, "bin/first");
  const none = { path: "/nonexistent/runtime" };
  const runtimes = open({ runtimes: { crun: none, runc: none, runsc: none, first: { path } } });
  assert.throws(() => runtimes.handler(""), hasCode(Code.FailedPrecondition, /no OCI runtime is installed/));
  writeFileSync(path, "#!/bin/sh\n", { mode: 0o755 });
  assert.equal(runtimes.handler("first").name, "first");
  assert.equal(runtimes.handler("").name, "first");
});

test("a runtime that crashes or hangs runs no pods, and says so; the others do", async (t) => {
  const { dir, paths, open } = withPrograms(t, "crun");
  const program = (name: string, script: string) => {
    writeFileSync(join(dir, "bin", name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    return { path: join(dir, "bin", name) };
  };
  const broken = {
    crashing: program("crashing", "kill -ABRT $$"),
    hanging: program("hanging", "exec sleep 1000"),
    garbage: program("garbage", "head -c 5000 /dev/urandom"),
  };
  const runtimes = open({ runtimes: { crun: { path: paths["crun"] }, ...broken } });
  await runtimes.refreshFacts();
  assert.equal(runtimes.handler("").name, "crun", "the default is not held up");
  await Promise.all(runtimes.all().map((handler) => handler.refreshFacts()));
  assert.throws(
    () => runtimes.handler("crashing"),
    hasCode(
      Code.FailedPrecondition,
      /^runtime handler crashing: .*\/bin\/crashing .* was ended by SIGABRT; install crashing/,
    ),
  );
  assert.throws(
    () => runtimes.handler("hanging"),
    hasCode(
      Code.FailedPrecondition,
      /^runtime handler hanging: .*\/bin\/hanging did not answer .* within 5 s; install hanging/,
    ),
  );
  assert.equal(runtimes.handler("garbage").version, "");
  assert.equal(runtimes.handler("").name, "crun");
});

test("a handler's files are read at the start, and what is wrong with them is a problem of that handler alone", (t) => {
  const { dir, paths, open } = withPrograms(t, "crun");
  const base = join(dir, "base.json");
  const path = paths["crun"];
  const table = {
    default_runtime: "crun",
    runtimes: {
      crun: { path },
      based: {
        path,
        base_spec: base,
        pod_annotations: ["a.*"],
        cni_conf_dir: "/etc/cni/other.d",
        privileged_without_host_devices: true,
      },
    },
  };
  assert.throws(
    () => open(table).handler("based"),
    hasCode(Code.FailedPrecondition, /^runtime handler based: its base_spec .*\/base\.json: .*ENOENT/),
  );
  writeFileSync(base, '{"hooks": 1}');
  assert.throws(
    () => open(table).handler("based"),
    hasCode(Code.FailedPrecondition, /its base_spec .*\/base\.json: hooks: /),
  );
  writeFileSync(base, " ".repeat(1024 ** 2 + 1));
  assert.throws(
    () => open(table).handler("based"),
    hasCode(Code.FailedPrecondition, /has 1048577 bytes, more than 1048576/),
  );
  writeFileSync(base, '{"linux": {"sysctl": {"a": "1"}}}');
  assert.deepEqual(open(table).handler("based").settings, {
    privilegedDevices: "as others",
    annotations: { pod: ["a.*"], container: [] },
    baseSpec: { linux: { sysctl: { a: "1" } } },
    cniConfDir: "/etc/cni/other.d",
    overhead: undefined,
  });
});

test("a program is found by path or by name, and only when it can be executed", (t) => {
  const { dir, paths } = withPrograms(t, "crun");
  assert.equal(findBinary(paths["crun"]!), paths["crun"]);
  assert.ok(findBinary("sh")?.startsWith("/"));
  writeFileSync(join(dir, "plain"), "");
  assert.equal(findBinary(join(dir, "plain")), undefined);
});
