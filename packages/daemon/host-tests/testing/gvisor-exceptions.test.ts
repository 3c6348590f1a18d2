import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { gvisorExceptions } from "./gvisor-exceptions.ts";

const src = join(import.meta.dirname, "..");
const source = (file: string) => readFileSync(join(src, file), "utf8");

test("each exception is of a test that there is, and has a reason", () => {
  for (const [file, exceptions] of Object.entries(gvisorExceptions)) {
    if (typeof exceptions === "string") continue;
    for (const [name, reason] of Object.entries(exceptions)) {
      assert.ok(
        source(file).includes(`test("${name}"`) ||
          source(file).includes(`test(\`${name.replace("runsc", "${runtime}")}\``),
        `${file} has no test ${name}`,
      );
      assert.ok(reason.length > 20, name);
    }
  }
});

test("a file whose tests are with each runtime has gVisor among these, or is an exception as a whole", () => {
  const files = readdirSync(src, { recursive: true, encoding: "utf8" }).filter((name) =>
    name.endsWith(".host.test.ts"),
  );
  for (const file of files) {
    const loops = [...source(file).matchAll(/ of (runtimes|eachRuntime)\)/g)].map(([, list]) => list);
    const isWhole = typeof gvisorExceptions[file] === "string";
    if (loops.length > 0) assert.equal(loops.includes("eachRuntime"), !isWhole, file);
  }
});
