// Compiles native/*.c into build/linux.node and the programs beside it. Plain JavaScript that also runs on Node 20,
// because it runs before the pinned Node does. Nothing is done when sources and compiler are the same as last time.
// With --sanitized it compiles into build/sanitized, to be checked by AddressSanitizer and UndefinedBehaviorSanitizer
// (scripts/test-sanitized.ts).
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { programs } from "./programs.mjs";

const run = promisify(execFile);
const here = dirname(fileURLToPath(import.meta.url));
const native = join(here, "native");
const isSanitized = process.argv.includes("--sanitized");
const build = join(here, isSanitized ? "build/sanitized" : "build");
const compiler = process.env.CC ?? "cc";

const warnings = ["-std=gnu17", "-Wall", "-Wextra", "-Werror"];
const sanitizers = [
  "-O1",
  "-g",
  "-fno-omit-frame-pointer",
  "-fsanitize=address,undefined",
  "-fno-sanitize-recover=all",
];
const hardening = ["-D_FORTIFY_SOURCE=2", "-fstack-protector-strong"];
const small = [
  "-Os",
  "-static",
  "-s",
  "-fno-asynchronous-unwind-tables",
  "-Wl,--gc-sections",
  "-Wl,-z,norelro",
  "-Wl,--build-id=none",
];
const addonFlags = [...warnings, ...(isSanitized ? sanitizers : [...hardening, "-O2"]), "-fPIC", "-fvisibility=hidden"];
const linkFlags = ["-shared", ...(isSanitized ? sanitizers : [])];

function programFlags(name) {
  if (!isSanitized) return [...warnings, ...hardening, ...small];
  // AddressSanitizer takes megabytes and no static program, and pod-init has to be small and static.
  return name === "pod-init"
    ? [...warnings, ...small, "-fsanitize=undefined", "-fsanitize-undefined-trap-on-error"]
    : [...warnings, ...sanitizers];
}

function headers() {
  const name = `node-linux-${process.arch}`;
  for (let dir = here; ; dir = dirname(dir)) {
    const include = join(dir, "node_modules", name, "include", "node");
    if (existsSync(join(include, "node_api.h"))) return include;
    if (dir === dirname(dir)) break;
  }
  const own = join(dirname(process.execPath), "..", "include", "node");
  if (existsSync(join(own, "node_api.h"))) return own;
  throw new Error(`the headers of Node are missing: npm install ${name} in the repository's root`);
}

const include = headers();
const sources = readdirSync(native)
  .filter((name) => /\.[ch]$/.test(name))
  .sort();
const hash = createHash("sha256").update(
  JSON.stringify([compiler, addonFlags, linkFlags, programs.map(programFlags), include]),
);
for (const name of sources) hash.update(name).update(readFileSync(join(native, name)));
hash.update(readFileSync(join(include, "node_version.h")));
const want = hash.digest("hex");
const stampFile = join(build, "stamp");
const outputs = ["linux.node", ...programs];

const isCurrent =
  existsSync(stampFile) &&
  readFileSync(stampFile, "utf8") === want &&
  outputs.every((name) => existsSync(join(build, name)));
if (!isCurrent) {
  mkdirSync(build, { recursive: true });
  // In a separate directory: several builds may run at once, and a running daemon has the old files open.
  const work = mkdtempSync(join(build, "work-"));
  try {
    const addonSources = sources.filter((name) => name.endsWith(".c") && !programs.includes(name.slice(0, -2)));
    await Promise.all([
      ...addonSources.map((name) =>
        run(compiler, [
          ...addonFlags,
          `-I${include}`,
          "-c",
          join(native, name),
          "-o",
          join(work, name.replace(/c$/, "o")),
        ]),
      ),
      ...programs.map((name) =>
        run(compiler, [...programFlags(name), join(native, `${name}.c`), "-o", join(work, name)]),
      ),
    ]);
    await run(compiler, [
      ...linkFlags,
      "-o",
      join(work, "linux.node"),
      ...addonSources.map((name) => join(work, name.replace(/c$/, "o"))),
      "-lpthread",
    ]);
    for (const name of outputs) renameSync(join(work, name), join(build, name));
    writeFileSync(join(work, "stamp"), want);
    renameSync(join(work, "stamp"), stampFile);
  } catch (error) {
    process.stderr.write(`${error.stderr || error.message}\n`);
    process.exitCode = 1;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}
