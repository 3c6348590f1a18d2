import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { pathToFileURL } from "node:url";

const program = (body: string) => `
  import { createServer } from "node:net";
  import { test } from "node:test";
  import { failOnLingering } from ${JSON.stringify(pathToFileURL(`${import.meta.dirname}/lingering.ts`).href)};
  failOnLingering("this one");
  test("x", () => { ${body} });
`;

function run(body: string) {
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const options = { encoding: "utf8", env: { ...env, KEELSON_TEST_SLOWNESS: "0.01" }, timeout: 60_000 } as const;
  const { status, stderr } = spawnSync(process.execPath, ["--input-type=module", "--eval", program(body)], options);
  return { status, stderr };
}

test("a process of tests that something keeps running after the last one fails and ends", () => {
  const { status, stderr } = run(`createServer().listen(0, "127.0.0.1");`);
  assert.equal(status, 1);
  assert.match(stderr, /^this one does not end after its last test; still open: .*TCPServerWrap/m);
});

test("one that ends by itself is left alone", () => {
  assert.equal(run("").status, 0);
});
