import assert from "node:assert/strict";
import { test } from "node:test";
import { waitFor } from "./wait.ts";

test("it returns the first truthy answer, and says what it waited for when there is none", async () => {
  let asked = 0;
  assert.equal(await waitFor(() => ++asked === 3 && "third"), "third");
  await assert.rejects(
    waitFor(() => false, { timeoutMs: 20, message: () => `a pod (${asked})` }),
    /waited 20 ms in vain: a pod \(3\)/,
  );
});
