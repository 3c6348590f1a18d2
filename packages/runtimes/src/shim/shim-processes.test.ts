import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { waitFor } from "@keelson/testkit/wait.ts";
import { ShimProcesses } from "./shim-processes.ts";

/** A shim whose commands are this script. */
function withScript(t: TestContext, script: string) {
  const dir = mkdtempSync(join(tmpdir(), "keelson-shims-"));
  t.after(() => rmSync(dir, { recursive: true }));
  const file = join(dir, "shim");
  writeFileSync(file, `#!/bin/sh\n${script}\n`);
  chmodSync(file, 0o755);
  const shims = new ShimProcesses({
    file,
    address: join(dir, "none"),
    eventsPath: join(dir, "none"),
    options: undefined,
  });
  const said = (): string => readFileSync(join(dir, "said"), "utf8");
  return { shims, bundle: { id: "c1", bundleDir: dir }, dir, said };
}

const never = new AbortController().signal;

test("a shim has the PATH and Kata's choice of a configuration file, and nothing else of our environment", async (t) => {
  process.env["KATA_CONF_FILE"] = "/etc/kata.toml";
  process.env["KEELSON_SECRET"] = "secret";
  t.after(() => {
    delete process.env["KATA_CONF_FILE"];
    delete process.env["KEELSON_SECRET"];
  });
  const { shims, bundle, said } = withScript(t, "env >said; echo no >&2; exit 1");
  await assert.rejects(shims.start(bundle, never), /start the shim .*: no \(exit code 1\)/);
  assert.match(said(), /^KATA_CONF_FILE=\/etc\/kata\.toml$/m);
  assert.match(said(), /^PATH=/m);
  assert.doesNotMatch(said(), /SECRET/);
});

test("cleaning up goes on when somebody gives up waiting for it, and the next one joins it", async (t) => {
  const { shims, bundle, dir, said } = withScript(t, "echo one >>said; until [ -e go ]; do sleep 0.02; done");
  await assert.rejects(shims.removeLeftovers(bundle, AbortSignal.timeout(100)), { name: "TimeoutError" });
  const joined = [never, never].map((signal) => shims.removeLeftovers(bundle, signal));
  writeFileSync(join(dir, "go"), "");
  await Promise.all(joined);
  assert.equal(said(), "one\n");
  await shims.removeLeftovers(bundle, never);
  await waitFor(() => said() === "one\none\n");
});
