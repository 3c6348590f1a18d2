import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, StatusError } from "@keelson/base/status.ts";
import { logCalls } from "./call-log.ts";

function record() {
  const lines: { level: string; text: string }[] = [];
  const at = (level: string) => (fields: object, message: string) =>
    void lines.push({ level, text: `${message} ${JSON.stringify(fields)}` });
  return { lines, log: { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") } };
}

test("a call is one line at debug, with its id, code and time, and without the rest of the request", () => {
  const { lines, log } = record();
  const request = { containerId: "c1", cmd: ["login", "--password=hunter2"], auth: { password: "hunter2" } };
  logCalls(log).ended({ name: "execSync", request, code: Code.Ok, durationMs: 12.345, error: undefined });
  assert.deepEqual(lines, [
    { level: "debug", text: 'call {"call":"execSync","containerId":"c1","code":"Ok","ms":12.3}' },
  ]);
});

for (const [code, level] of [
  [Code.NotFound, "debug"],
  [Code.Unimplemented, "debug"],
  [Code.InvalidArgument, "info"],
  [Code.DeadlineExceeded, "info"],
  [Code.Internal, "error"],
] as const) {
  test(`a call that fails with code ${code} is logged at ${level}`, () => {
    const { lines, log } = record();
    logCalls(log).ended({
      name: "stopContainer",
      request: {},
      code,
      durationMs: 1,
      error: new StatusError(code, "why"),
    });
    assert.equal(lines[0]?.level, level);
  });
}
