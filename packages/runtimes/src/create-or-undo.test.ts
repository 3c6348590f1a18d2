import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { Code, StatusError } from "@keelson/base/status.ts";
import { createOrUndo } from "./create-or-undo.ts";
import { RuntimeCommand } from "./runtime-command.ts";
import type { RuntimeContainer } from "./runtime.ts";

function withContainer(t: TestContext) {
  const bundleDir = mkdtempSync(join(tmpdir(), "keelson-create-"));
  t.after(() => rmSync(bundleDir, { recursive: true }));
  mkdirSync(join(bundleDir, "rootfs"));
  const command = new RuntimeCommand({ name: "r", path: "/bin/true", root: bundleDir, args: [], systemdCgroup: false });
  const container: RuntimeContainer = {
    id: "c1",
    sandboxId: "p1",
    bundleDir,
    cgroupPath: "/c1",
    logPath: "",
    tty: false,
    stdin: false,
    stdinOnce: false,
  };
  return { command, container };
}

const fails = (code: Code, message: string) => () => Promise.reject(new StatusError(code, message));

test("a container that is created is not undone", async (t) => {
  const { command, container } = withContainer(t);
  const undo = () => assert.fail("undone");
  assert.equal(await createOrUndo(command, container, { create: async () => 7, undo }), 7);
});

test("what failed is undone before the error, which names the container and the runtime and keeps its code", async (t) => {
  const { command, container } = withContainer(t);
  const steps: string[] = [];
  const creating = createOrUndo(command, container, {
    create: fails(Code.Cancelled, "the caller left"),
    undo: async (signal) => void steps.push(signal.aborted ? "too late" : "undone"),
  });
  await assert.rejects(
    creating.finally(() => steps.push("failed")),
    {
      code: Code.Cancelled,
      message: "create container c1 with r (/bin/true): the caller left",
    },
  );
  assert.deepEqual(steps, ["undone", "failed"]);
});

test("when undoing fails too, the error tells both, and the first decides its code", async (t) => {
  const { command, container } = withContainer(t);
  await assert.rejects(
    createOrUndo(command, container, {
      create: fails(Code.FailedPrecondition, "no such command"),
      undo: fails(Code.Unavailable, "it hangs"),
    }),
    {
      code: Code.FailedPrecondition,
      message: "create container c1 with r (/bin/true): no such command (and while cleaning up: it hangs)",
    },
  );
});
