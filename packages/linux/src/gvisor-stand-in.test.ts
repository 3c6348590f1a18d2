import assert from "node:assert/strict";
import { test } from "node:test";
import { gvisorStandInProgram } from "./gvisor-stand-in.ts";
import { run } from "./run.ts";

const standIn = (args: readonly string[], env: Record<string, string> = {}) =>
  run({ file: gvisorStandInProgram(), args, env });

test("an error names a path of any length", async () => {
  for (const [length, reason] of [
    [250, "No such file or directory"],
    [20_000, "File name too long"],
  ] as const) {
    const bundle = `/${"b".repeat(length)}`;
    const { code, stderr } = await standIn(["start", bundle]);
    assert.deepEqual([code, stderr.toString()], [128, `gvisor-stand-in: ${bundle}: ${reason}\n`]);
  }
});

test("anything but a pid counts as a sandbox that has ended, whatever its length", async () => {
  for (const pid of ["0", "x", "9".repeat(20_000)]) {
    const { code, stderr } = await standIn(["start-sandbox", pid, "/bin/true"]);
    assert.deepEqual([code, stderr.toString()], [128, "gvisor-stand-in: the sandbox has ended\n"]);
  }
});

test("a command line that conmon would not write is refused", async () => {
  const refused = async (args: readonly string[], env?: Record<string, string>) =>
    (await standIn(args, env)).stderr.toString();
  assert.equal(await refused(["create"]), "gvisor-stand-in: KEELSON_RUNSC is not set\n");
  const env = { KEELSON_RUNSC: "/bin/true" };
  assert.equal(await refused([], env), "gvisor-stand-in: only create is known\n");
  assert.equal(await refused(["delete", "c"], env), "gvisor-stand-in: only create is known\n");
  const incomplete = "gvisor-stand-in: create has no --bundle or --pid-file\n";
  assert.equal(await refused(["create"], env), incomplete);
  assert.equal(await refused(["create", "--bundle", "/tmp", "c"], env), incomplete);
});
