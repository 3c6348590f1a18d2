import assert from "node:assert/strict";
import { test } from "node:test";
import { type Outcome, statusText } from "./exit-status.ts";

const problem: Outcome = { is: "not run", exitCode: 127, message: "the command x is not there" };

test("since v4 it is a Status of the Kubernetes API", () => {
  assert.deepEqual(JSON.parse(statusText({ is: "exited", exitCode: 0 }, "json")), { metadata: {}, status: "Success" });
  assert.deepEqual(JSON.parse(statusText({ is: "exited", exitCode: 3 }, "json")), {
    metadata: {},
    status: "Failure",
    message: "command terminated with exit code 3",
    reason: "NonZeroExitCode",
    details: { causes: [{ reason: "ExitCode", message: "3" }] },
  });
  const notRun = JSON.parse(statusText(problem, "json")) as { message: string; details: unknown };
  assert.equal(notRun.message, "command terminated with exit code 127: the command x is not there");
  assert.deepEqual(notRun.details, { causes: [{ reason: "ExitCode", message: "127" }] });
  const failed = JSON.parse(statusText({ is: "failed", message: "it broke" }, "json")) as {
    reason: string;
    message: string;
    code: number;
  };
  assert.deepEqual(
    [failed.reason, failed.message, failed.code],
    ["InternalError", "Internal error occurred: it broke", 500],
  );
});

test("before v4 it is text, and nothing after success", () => {
  assert.equal(statusText({ is: "exited", exitCode: 0 }, "text"), "");
  assert.equal(statusText({ is: "exited", exitCode: 3 }, "text"), "command terminated with exit code 3");
  assert.match(statusText(problem, "text"), /127: the command x/);
  assert.equal(statusText({ is: "failed", message: "it broke" }, "text"), "it broke");
});
