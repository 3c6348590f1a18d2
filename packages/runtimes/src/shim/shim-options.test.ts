import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, StatusError } from "@keelson/base/status.ts";
import { Options as RuncOptions } from "@keelson/shim/gen/containerd/runc/v1/options.ts";
import { Options as ConfiguredOptions } from "@keelson/shim/gen/runtimeoptions/v1/options.ts";
import { shimOptions } from "./shim-options.ts";

const defaults = { root: "/run/k/runtimes/x", systemdCgroup: true };

test("containerd's shim gets our root and cgroup driver, unless its section says otherwise", () => {
  const options = shimOptions({ BinaryName: "crun", NoPivotRoot: true, SystemdCgroup: false }, defaults);
  assert.equal(options?.typeUrl, "containerd.runc.v1.Options");
  const { binaryName, noPivotRoot, systemdCgroup, root } = RuncOptions.decode(options.value);
  assert.deepEqual([binaryName, noPivotRoot, systemdCgroup, root], ["crun", true, false, "/run/k/runtimes/x"]);
});

test("another shim gets its configuration file, a message of any type, or nothing", () => {
  const kata = shimOptions({ ConfigPath: "/opt/kata.toml" }, undefined);
  assert.equal(kata?.typeUrl, "runtimeoptions.v1.Options");
  assert.equal(ConfiguredOptions.decode(kata.value).configPath, "/opt/kata.toml");
  assert.deepEqual(shimOptions({ TypeUrl: "a.b.C", Value: "AQI=" }, undefined), {
    typeUrl: "a.b.C",
    value: Buffer.of(1, 2),
  });
  assert.equal(shimOptions({}, undefined), undefined);
});

test("anything else is an error that names its key", () => {
  const fails = (options: Record<string, unknown>, message: RegExp) =>
    assert.throws(
      () => shimOptions(options, undefined),
      (e: unknown) => e instanceof StatusError && e.code === Code.FailedPrecondition && message.test(e.message),
    );
  fails({ BinaryName: "crun" }, /options\.BinaryName is none of/);
  fails({ ConfigPath: 3 }, /options\.ConfigPath must be a string/);
  fails({ Value: "AQI=" }, /options\.TypeUrl must be a string/);
});
