// Values that a client could send to escape from the places of its pods and containers, or to use up the daemon's
// memory.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, StatusError } from "@keelson/base/status.ts";
import type { ContainerPlan } from "./container-plan.ts";
import type { PodPlan } from "./pod-plan.ts";
import { containerFrom, podFrom } from "./testing/plan-fixture.ts";

const hostile = [
  "..",
  "../..",
  "/..",
  "a/../../b",
  "./../x",
  "a\0b",
  "\0",
  "a\nb",
  "a\r\nb",
  "/a/\0/b",
  "x".repeat(5000),
  `/${"x".repeat(5000)}`,
];
const mebibyte = 1024 * 1024;

/** The plan, or undefined if it was refused as InvalidArgument with a message that begins with this field. */
function planned<T>(make: () => T, field: string): T | undefined {
  try {
    return make();
  } catch (error) {
    assert.ok(error instanceof StatusError, String(error));
    assert.equal(error.code, Code.InvalidArgument, error.message);
    assert.ok(error.message.startsWith(field), error.message);
    assert.ok(error.message.length < 1000);
    // oxlint-disable-next-line no-control-regex -- checks that there are none
    assert.doesNotMatch(error.message, /[\u0000-\u001f]/);
    return undefined;
  }
}

/** Absolute, without `..` or NUL. Newlines are allowed inside the container, where names of files may have them. */
function staysInside(path: string | undefined): void {
  if (path === undefined) return;
  assert.match(path, /^\//);
  // oxlint-disable-next-line no-control-regex -- checks that there are none
  assert.doesNotMatch(path, /(^|\/)\.\.(\/|$)|\u0000/);
}

test("no string in a pod's config takes a path out of its root", () => {
  const fields: Record<string, [(value: string) => object, (plan: PodPlan) => (string | undefined)[]]> = {
    log_directory: [(value) => ({ log_directory: value }), (plan) => [plan.logDirectory]],
    hostname: [(value) => ({ hostname: value }), (plan) => [`/${plan.hostname}`]],
    "linux.cgroup_parent": [(value) => ({ linux: { cgroup_parent: value } }), (plan) => [plan.cgroup.path]],
    "linux.sysctls": [
      (value) => ({ linux: { sysctls: { [`net.${value}`]: "1" } } }),
      (plan) => plan.sysctls.map((s) => `/${s.file}`),
    ],
  };
  for (const [field, [pod, pathsOf]] of Object.entries(fields)) {
    for (const value of hostile) {
      const plan = planned(() => podFrom({ pod: pod(value) }), field);
      if (plan === undefined) continue;
      for (const path of pathsOf(plan)) staysInside(path);
      assert.doesNotMatch(JSON.stringify(plan), /\\n/);
    }
  }
});

test("no string in a container's config takes a path out of its root", () => {
  const fields: Record<string, [(value: string) => object, (plan: ContainerPlan) => (string | undefined)[]]> = {
    log_path: [(value) => ({ log_path: value }), (plan) => [plan.logPath]],
    working_dir: [(value) => ({ working_dir: value }), (plan) => [plan.cwd]],
    "mounts[0].container_path": [
      (value) => ({ mounts: [{ host_path: "/srv", container_path: value }] }),
      (plan) => plan.mounts.map((m) => m.destination),
    ],
    "devices[0].container_path": [
      (value) => ({ devices: [{ host_path: "/dev/null", container_path: value }] }),
      (plan) => plan.devices.map((d) => d.containerPath),
    ],
    "linux.security_context.masked_paths[0]": [
      (value) => ({ linux: { security_context: { masked_paths: [value] } } }),
      (plan) => plan.protectedPaths.masked,
    ],
  };
  for (const [field, [container, pathsOf]] of Object.entries(fields)) {
    for (const value of hostile) {
      const plan = planned(() => containerFrom({ container: container(value) }).plan, field);
      if (plan === undefined) continue;
      for (const path of pathsOf(plan)) staysInside(path);
      assert.doesNotMatch(`${plan.logPath}${plan.cwd}`, /[\r\n]/);
    }
  }
});

test("paths of the host are not changed, but refused when relative, with a NUL or longer than PATH_MAX", () => {
  for (const value of ["", "a", "../x", "/a\0b", `/${"x".repeat(4095)}`]) {
    assert.equal(
      planned(
        () => containerFrom({ container: { mounts: [{ host_path: value, container_path: "/x" }] } }),
        "mounts[0].host_path",
      ),
      undefined,
      value,
    );
    assert.equal(
      planned(
        () => containerFrom({ container: { devices: [{ host_path: value, container_path: "/x" }] } }),
        "devices[0].host_path",
      ),
      undefined,
      value,
    );
  }
});

test("labels and annotations may have 1 MiB together, in a pod and in a container", () => {
  const makers = [(part: object) => podFrom({ pod: part }), (part: object) => containerFrom({ container: part })];
  for (const make of makers) {
    make({ labels: { a: "x".repeat(mebibyte / 2 - 1) }, annotations: { b: "x".repeat(mebibyte / 2 - 1) } });
    const refused = (part: object, message: RegExp) =>
      assert.throws(() => make(part), { code: Code.InvalidArgument, message });
    refused(
      { labels: { a: "x".repeat(mebibyte) } },
      /^labels has 1048577 bytes; labels and annotations together may have 1048576$/,
    );
    refused(
      { labels: { a: "x".repeat(1000) }, annotations: { b: "x".repeat(10 * mebibyte) } },
      /^annotations has 10485761 bytes/,
    );
    refused(
      { annotations: Object.fromEntries(Array.from({ length: 100_000 }, (_, i) => [`key-${i}`, "value"])) },
      /^annotations has/,
    );
    // Characters are not bytes.
    refused({ labels: { a: "ü".repeat(mebibyte / 2) } }, /^labels has 1048577 bytes/);
  }
});
