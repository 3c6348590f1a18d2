import assert from "node:assert/strict";
import { globSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { defaultParts, parseOptions } from "./options.ts";

test("without arguments the default files run with both drivers, with --all every host test", () => {
  assert.deepEqual(parseOptions([]), {
    parts: defaultParts,
    drivers: ["cgroupfs", "systemd"],
    limitMs: 5_400_000,
    slowness: 10,
  });
  assert.deepEqual(parseOptions(["--all"]).parts, [".host.test.ts"]);
});

test("arguments choose files and drivers", () => {
  const { parts, drivers, limitMs } = parseOptions([
    "--driver",
    "systemd",
    "lifecycle",
    "--minutes",
    "0.5",
    "linux/src/cgroup",
  ]);
  assert.deepEqual([parts, drivers, limitMs], [["lifecycle", "linux/src/cgroup"], ["systemd"], 30_000]);
});

test("what it does not understand is refused, with the usage", () => {
  for (const args of [
    ["--driver", "both"],
    ["--minutes", "0"],
    ["--minutes", "soon"],
    ["--fast"],
    ["a b"],
    ["$(reboot)"],
    ["'"],
  ]) {
    assert.throws(() => parseOptions(args), /npm run test:guest --/, args.join(" "));
  }
});

test("each of the default files exists", () => {
  const files = globSync("packages/*/{src,host-tests}/**/*.host.test.ts", { cwd: join(import.meta.dirname, "../..") });
  for (const part of defaultParts)
    assert.ok(
      files.some((file) => file.includes(part)),
      part,
    );
});
