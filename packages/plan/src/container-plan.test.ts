import assert from "node:assert/strict";
import { test } from "node:test";
import { Code } from "@keelson/base/status.ts";
import { execProcess } from "./process.ts";
import { containerFrom, podFrom, type PlanFixture } from "./testing/plan-fixture.ts";

const plan = (fixture: PlanFixture) => containerFrom(fixture).plan;
const security = (context: object) => ({ linux: { security_context: context } });
const resources = (resources: object) => ({ linux: { resources } });

function refused(container: object, code: Code, message: RegExp, rest: PlanFixture = {}): void {
  assert.throws(() => plan({ ...rest, container }), { code, message }, JSON.stringify(container));
}

test("a name is needed, and is unique together with the pod's", () => {
  assert.equal(plan({ container: { metadata: { name: "c", attempt: 2 } } }).nameKey, "c_web_default_0f3a_2");
  refused({ metadata: { name: "a\nb" } }, Code.InvalidArgument, /^metadata\.name /);
});

test("command and args replace Entrypoint and Cmd as in Kubernetes", () => {
  const image = { entrypoint: ["/e"], cmd: ["c"] };
  assert.deepEqual(plan({ image }).args, ["/e", "c"]);
  assert.deepEqual(plan({ image, container: { args: ["a"] } }).args, ["/e", "a"]);
  assert.deepEqual(plan({ image, container: { command: ["x"] } }).args, ["x"]);
  assert.deepEqual(plan({ image, container: { command: ["x"], args: ["a"] } }).args, ["x", "a"]);
  assert.deepEqual(plan({ image: { entrypoint: [""], cmd: ["c"] } }).args, ["c"]);
  refused({}, Code.InvalidArgument, /^command is missing/, { image: { cmd: [] } });
  refused({ command: ["a\0"] }, Code.InvalidArgument, /^command\[0\] /);
});

test("environment keys are checked; values may contain anything except NUL and broken UTF-8", () => {
  const env = (key: string, value: Buffer) => ({ envs: [{ key, value: value.toString("base64") }] });
  assert.ok(plan({ container: env("A", Buffer.from("x=y\nz é")) }).env.includes("A=x=y\nz é"));
  assert.ok(!plan({ image: { env: ["=x", "bare"] } }).env.some((entry) => entry === "=x" || entry === "bare"));
  for (const key of ["", "A=B", "A\0"]) refused(env(key, Buffer.from("x")), Code.InvalidArgument, /^envs\[0\]\.key /);
  refused(env("A", Buffer.from([0xff, 0xfe])), Code.InvalidArgument, /UTF-8/);
  refused(env("A", Buffer.from("a\0b")), Code.InvalidArgument, /NUL/);
});

test("the working directory is absolute", () => {
  refused({ working_dir: "x" }, Code.InvalidArgument, /^working_dir /);
  assert.equal(plan({ image: { workingDir: "app" } }).cwd, "/app");
});

test("the log is always inside the pod's log directory", () => {
  assert.equal(plan({ container: { log_path: "nginx/0.log" } }).logPath, "/var/log/pods/web/nginx/0.log");
  assert.equal(plan({}).logPath, undefined);
  refused({ log_path: "../x" }, Code.InvalidArgument, /^log_path /);
  refused({ log_path: "x" }, Code.InvalidArgument, /log_directory/, { pod: { log_directory: "" } });
});

test("stdin_once needs stdin", () => refused({ stdin_once: true }, Code.InvalidArgument, /^stdin_once /));

test("mounts are checked", () => {
  const mount = (m: object) => ({ mounts: [{ container_path: "/x", host_path: "/y", ...m }] });
  refused(mount({ container_path: "/x/.." }), Code.InvalidArgument, /^mounts\[0\]\.container_path .*root/);
  refused(mount({ container_path: "" }), Code.InvalidArgument, /container_path/);
  refused(mount({ host_path: "y" }), Code.InvalidArgument, /host_path/);
  refused(mount({ recursive_read_only: true }), Code.InvalidArgument, /recursive_read_only needs readonly/);
  for (const propagation of ["PROPAGATION_HOST_TO_CONTAINER", "PROPAGATION_BIDIRECTIONAL"])
    refused(
      mount({ readonly: true, recursive_read_only: true, propagation }),
      Code.InvalidArgument,
      /PROPAGATION_PRIVATE/,
    );
  refused(
    mount({ readonly: true, recursive_read_only: true }),
    Code.FailedPrecondition,
    /recursive_read_only.*"crun"/,
    { handler: { recursiveReadOnlyMounts: false } },
  );
});

test("a thousand mounts in any order come out parents first", () => {
  const mounts = Array.from({ length: 1000 }, (_, i) => ({
    container_path: `/m${"/d".repeat((i * 7) % 13)}/${i}`,
    host_path: "/y",
  }));
  const depths = plan({ container: { mounts } }).mounts.map((m) => m.destination.split("/").length);
  assert.deepEqual(
    depths,
    depths.toSorted((a, b) => a - b),
  );
});

test("devices need paths and permissions", () => {
  assert.deepEqual(plan({ container: { devices: [{ host_path: "/dev/fuse" }] } }).devices, [
    { hostPath: "/dev/fuse", containerPath: "/dev/fuse", permissions: "rwm" },
  ]);
  for (const permissions of ["x", "rr", "r w", "rwmx"])
    refused({ devices: [{ host_path: "/dev/fuse", permissions }] }, Code.InvalidArgument, /permissions/);
  refused({ devices: [{ host_path: "dev/fuse" }] }, Code.InvalidArgument, /host_path/);
});

test("limits are checked and converted", () => {
  refused(resources({ cpu_quota: "-2" }), Code.InvalidArgument, /cpu_quota/);
  refused(resources({ cpu_period: "10" }), Code.InvalidArgument, /cpu_period/);
  refused(resources({ cpu_shares: "-1" }), Code.InvalidArgument, /cpu_shares/);
  refused(resources({ cpuset_cpus: "0-" }), Code.InvalidArgument, /cpuset_cpus/);
  refused(resources({ memory_limit_in_bytes: "-2" }), Code.InvalidArgument, /memory_limit/);
  refused(resources({ oom_score_adj: "1001" }), Code.InvalidArgument, /oom_score_adj/);
  assert.deepEqual(plan({ container: resources({ memory_limit_in_bytes: "9223372036854775807" }) }).resources.memory, {
    limit: Number.MAX_SAFE_INTEGER,
    swap: Number.MAX_SAFE_INTEGER,
  });
});

test("shares are clamped as the kernel does, and 'no quota' is not written to cgroup v1", () => {
  const cpu = (r: object, cgroupVersion: "v1" | "v2" = "v2") =>
    plan({ host: { cgroupVersion }, container: resources(r) }).resources.cpu;
  assert.deepEqual([cpu({ cpu_shares: "1" }), cpu({ cpu_shares: "2000000" })], [{ shares: 2 }, { shares: 262_144 }]);
  assert.deepEqual([cpu({ cpu_quota: "-1" }), cpu({ cpu_quota: "-1" }, "v1")], [{ quota: -1 }, undefined]);
});

test("swap: none by default, as asked for where the kernel accounts for it, refused where it does not", () => {
  const swap = (memory: string, swap: string, hasSwapAccounting: boolean) =>
    plan({
      host: { hasSwapAccounting },
      container: resources({ memory_limit_in_bytes: memory, memory_swap_limit_in_bytes: swap }),
    }).resources.memory;
  assert.deepEqual(swap("100", "0", true), { limit: 100, swap: 100 });
  assert.deepEqual(swap("100", "0", false), { limit: 100 });
  assert.deepEqual(swap("100", "200", true), { limit: 100, swap: 200 });
  assert.deepEqual(swap("100", "-1", true), { limit: 100, swap: -1 });
  assert.deepEqual(swap("100", "100", false), { limit: 100 });
  assert.throws(() => swap("100", "200", false), {
    code: Code.FailedPrecondition,
    message: /memory_swap_limit_in_bytes/,
  });
  assert.throws(() => swap("100", "50", true), { code: Code.InvalidArgument });
  assert.throws(() => swap("0", "50", true), { code: Code.InvalidArgument });
});

test("huge pages and unified need cgroups that support them", () => {
  const huge = (pageSize: string, limit: string) => resources({ hugepage_limits: [{ page_size: pageSize, limit }] });
  refused(huge("3MB", "1"), Code.FailedPrecondition, /3MB/);
  refused(huge("2MB", "1"), Code.FailedPrecondition, /hugetlb/, { host: { controllers: [] } });
  refused(huge("2 MB", "1"), Code.InvalidArgument, /page_size/);
  assert.deepEqual(plan({ host: { controllers: [] }, container: huge("2MB", "0") }).resources, {});
  refused(resources({ unified: { "memory.high": "1" } }), Code.InvalidArgument, /unified.*v2/, {
    host: { cgroupVersion: "hybrid" },
  });
  for (const file of ["../x", "cgroup", "memory.high/x", "a.b\n"])
    refused(resources({ unified: { [file]: "1" } }), Code.InvalidArgument, /unified/);
});

test("oom_score_adj is raised to the lowest that this daemon can give; without resources it is 0", () => {
  assert.deepEqual(
    plan({ host: { oomScoreAdjMin: -500 }, container: resources({ oom_score_adj: "-998" }) }).oomScoreAdj,
    { value: -500, raisedFrom: -998 },
  );
  assert.deepEqual(plan({}).oomScoreAdj, { value: 0 });
});

test("privileged needs a privileged pod", () => {
  refused(security({ privileged: true }), Code.InvalidArgument, /privileged/);
});

test("seccomp: unset means none, the deprecated field is understood, privileged means none", () => {
  const seccomp = (context: object, rest: PlanFixture = {}) => plan({ ...rest, container: security(context) }).seccomp;
  assert.deepEqual(seccomp({}), { is: "none" });
  assert.deepEqual(seccomp({ seccomp: { profile_type: "RuntimeDefault" } }), { is: "default" });
  assert.deepEqual(seccomp({ seccomp: { profile_type: "Unconfined" }, seccomp_profile_path: "runtime/default" }), {
    is: "none",
  });
  assert.deepEqual(seccomp({ seccomp: { profile_type: "Localhost", localhost_ref: "localhost//a.json" } }), {
    is: "localhost",
    path: "/a.json",
  });
  for (const path of ["runtime/default", "docker/default"])
    assert.deepEqual(seccomp({ seccomp_profile_path: path }), { is: "default" });
  assert.deepEqual(seccomp({ seccomp_profile_path: "localhost//a.json" }), { is: "localhost", path: "/a.json" });
  assert.deepEqual(
    seccomp({ privileged: true, seccomp: { profile_type: "RuntimeDefault" } }, { pod: security({ privileged: true }) }),
    { is: "none" },
  );
  refused(security({ seccomp_profile_path: "foo" }), Code.InvalidArgument, /seccomp_profile_path/);
  refused(
    security({ seccomp: { profile_type: "Localhost", localhost_ref: "a.json" } }),
    Code.InvalidArgument,
    /absolute/,
  );
  refused(security({ seccomp: { localhost_ref: "/a.json" } }), Code.InvalidArgument, /localhost_ref/);
  refused(security({ seccomp: {} }), Code.FailedPrecondition, /seccomp/, { host: { seccompEnabled: false } });
});

test("AppArmor: applied where the kernel has it; where it has not, a profile by name is refused", () => {
  const on = { appArmorEnabled: true, appArmorDefaultProfile: "keelson" };
  const profile = (context: object, host = {}) => plan({ host, container: security(context) }).appArmorProfile;
  assert.equal(profile({ apparmor: { profile_type: "RuntimeDefault" } }), undefined);
  assert.equal(profile({}, on), "keelson");
  assert.equal(profile({ apparmor_profile: "unconfined" }, on), undefined);
  assert.equal(
    profile({ apparmor: { profile_type: "Localhost", localhost_ref: "mine" }, apparmor_profile: "unconfined" }, on),
    "mine",
  );
  refused(security({ apparmor_profile: "localhost/mine" }), Code.FailedPrecondition, /"mine".*AppArmor/);
  refused(security({ apparmor: { profile_type: "RuntimeDefault" } }), Code.FailedPrecondition, /apparmor/, {
    host: { ...on, appArmorDefaultProfile: "" },
  });
});

test("masked and read-only paths have defaults only without a security context", () => {
  assert.ok(plan({}).protectedPaths.masked.includes("/proc/kcore"));
  assert.deepEqual(plan({ container: security({}) }).protectedPaths, { masked: [], readonly: [] });
  assert.deepEqual(plan({ container: security({ masked_paths: ["/a/"], readonly_paths: ["/b"] }) }).protectedPaths, {
    masked: ["/a"],
    readonly: ["/b"],
  });
  refused(security({ masked_paths: ["a"] }), Code.InvalidArgument, /masked_paths\[0\]/);
});

test("namespaces follow those of the pod", () => {
  const pid = (pod: object, options?: object) =>
    plan({
      pod: security({ namespace_options: pod }),
      container: options === undefined ? {} : security({ namespace_options: options }),
    }).pidNamespace;
  assert.deepEqual(pid({ pid: "CONTAINER" }), { is: "own" });
  assert.deepEqual(pid({ pid: "POD" }), { is: "pod" });
  assert.deepEqual(pid({ pid: "POD" }, { pid: "CONTAINER" }), { is: "own" });
  assert.deepEqual(pid({ pid: "NODE" }, { pid: "NODE" }), { is: "host" });
  assert.deepEqual(pid({ pid: "CONTAINER" }, { pid: "TARGET", target_id: "c" }), { is: "target", targetId: "c" });
  assert.throws(() => pid({ pid: "CONTAINER" }, { pid: "POD" }), { code: Code.FailedPrecondition });
  assert.throws(() => pid({ pid: "POD" }, { pid: "NODE" }), { code: Code.InvalidArgument });
  assert.throws(() => pid({}, { network: "NODE" }), { code: Code.InvalidArgument, message: /network is NODE/ });
  assert.throws(() => pid({}, { ipc: "CONTAINER" }), { code: Code.InvalidArgument });
  assert.throws(() => pid({}, { pid: "TARGET" }), { code: Code.InvalidArgument, message: /target_id/ });
  assert.throws(() => pid({}, { target_id: "x" }), { code: Code.InvalidArgument, message: /target_id/ });
});

test("a plan is plain JSON", () => {
  const value = plan({ container: resources({ memory_limit_in_bytes: "100" }) });
  assert.deepEqual(JSON.parse(JSON.stringify(value)), value);
});

test("an exec runs as the container does, with its own command and terminal", () => {
  const process = {
    cwd: "/w",
    user: { uid: 1, gid: 2, additionalGids: [2, 3] },
    args: ["x"],
    env: ["A=b"],
    terminal: true,
    oomScoreAdj: 5,
  };
  assert.deepEqual(execProcess(process, ["id"], false), { ...process, args: ["id"], terminal: false });
  assert.deepEqual(execProcess(process, ["sh"], true).env, ["A=b", "TERM=xterm"]);
  assert.throws(() => execProcess(process, [], false), { code: Code.InvalidArgument, message: /^cmd / });
});

test("fixtures share one pod", () => assert.equal(plan({}).podId, podFrom({}).id));
