/**
 * Every file and directory of this repository that a Markdown file names exists, and every link leads to a file and, if
 * it has one, a heading. Names in capitals, such as NAME, and * stand for anything.
 */
import assert from "node:assert/strict";
import { existsSync, globSync, readFileSync, statSync } from "node:fs";
import { basename, dirname, join, normalize } from "node:path";
import { test } from "node:test";

const root = join(import.meta.dirname, "../../..");
const topLevel = "packages|docs|scripts|packaging|examples|bin";
const notOurs = /(^|\/)(node_modules|dist|build|\.git)$/;

const paths = globSync("**/*", { cwd: root, exclude: (path) => notOurs.test(path) });
const documents = paths.filter((path) => path.endsWith(".md"));

/** What a Markdown file names and is not there; `file` is its path from the root. */
function missingIn(file: string, text: string): string[] {
  return [...new Set([...brokenLinks(file, text), ...missingFromRoot(text), ...missingNames(file, text)])];
}

function brokenLinks(file: string, text: string): string[] {
  const links = [...text.matchAll(/\]\(([^)\s]+)\)/g)].map(([, link]) => link!);
  return links.filter((link) => {
    if (/^[a-z]+:/.test(link)) return false;
    const [path, heading] = link.split("#") as [string, string?];
    const target = path === "" ? file : normalize(join(dirname(file), path));
    if (!existsSync(join(root, target))) return true;
    return (
      heading !== undefined && !headingsOf(path === "" ? text : readFileSync(join(root, target), "utf8")).has(heading)
    );
  });
}

/** The anchors that GitHub gives headings. */
function headingsOf(text: string): Set<string> {
  const headings = [...text.matchAll(/^#+ (.*)$/gm)].map(([, heading]) => heading!);
  return new Set(
    headings.map((heading) =>
      heading
        .toLowerCase()
        .replaceAll(/[^\p{L}\p{N} _-]/gu, "")
        .replaceAll(" ", "-"),
    ),
  );
}

/** Paths from the root, wherever they are in the text, commands included. */
function missingFromRoot(text: string): string[] {
  const named = text.matchAll(new RegExp(`(?<![\\w/.@~-])(?:${topLevel})/[\\w*./-]*[\\w*/]`, "g"));
  return [...named].map(([path]) => path).filter((path) => globSync(anyName(path), { cwd: root }).length === 0);
}

/** Source files, tests and documents that are named without their directory, or with the end of it. */
function missingNames(file: string, text: string): string[] {
  const words = [...text.matchAll(/`([^`\n]+)`/g)].flatMap(([, code]) => code!.split(/[\s,;]+/));
  const scope = basename(file) === "README.md" && file.startsWith("packages/") ? `${dirname(file)}/` : "";
  const known = paths.filter((path) => path.startsWith(scope)).map((path) => `/${path}`);
  return words.filter((word) => {
    const [, name, module] = /^@keelson\/([a-z]+)\/(.+\.ts)$/.exec(word) ?? [];
    if (name !== undefined) return !existsSync(join(root, "packages", name, "src", module!));
    if (new RegExp(`^(?:${topLevel})/`).test(word)) return false;
    const isSource = word.startsWith("src/");
    const isFile = /^[\w*][\w*.-]*(?:\/[\w*.-]+)*\.(?:ts|mjs|c|md)$/.test(word) && !/(^|\/)x\./.test(word);
    const isDirectory = scope !== "" && /^[a-z][a-z-]*(?:\/[a-z-]+)*\/$/.test(word);
    if (!isSource && !isFile && !isDirectory) return false;
    const end = new RegExp(`/${anyName(word).replace(/\/$/, "").replaceAll(".", "\\.").replaceAll("*", "[^/]*")}$`);
    return !known.some((path) => end.test(path) && (!isDirectory || statSync(join(root, path)).isDirectory()));
  });
}

function anyName(path: string): string {
  return path.endsWith(".md") ? path : path.replaceAll(/[A-Z]{3,}/g, "*");
}

for (const file of documents)
  test(`${file} names only what exists`, () => {
    assert.deepEqual(missingIn(file, readFileSync(join(root, file), "utf8")), []);
  });

test("README.md lists every package, and each has a README", () => {
  const rows = readFileSync(join(root, "README.md"), "utf8").matchAll(/^\| `packages\/([a-z]+)` \|/gm);
  const packages = globSync("packages/*/package.json", { cwd: root }).map((path) => basename(dirname(path)));
  assert.deepEqual([...rows].map(([, name]) => name!).sort(), packages.sort());
  assert.deepEqual(
    packages.filter((name) => !existsSync(join(root, "packages", name, "README.md"))),
    [],
  );
});

test("all kinds of names are found, also in commands, and what is missing is reported", () => {
  const text = `# A heading
[a link](docs/cri.md) [one with a heading](#a-heading) [elsewhere](https://example.com/none.md)
\`packages/engine/src/calls/exec.ts\`, \`calls/exec.ts\`, \`*.host.test.ts\`, \`packages/plan/src/testdata/NAME/input.json\`,
\`@keelson/base/log.ts\`, \`/etc/none.md\`, \`hosts.toml\`
    bin/node --test packages/testkit/src/doc-paths.test.ts
[broken](docs/none.md) [no such heading](docs/cri.md#none) \`packages/none/src\` \`calls/none.ts\` \`@keelson/base/none.ts\` \`src/none\`
    bin/node --test packages/testkit/src/none.test.ts
`;
  assert.deepEqual(missingIn("README.md", text), [
    "docs/none.md",
    "docs/cri.md#none",
    "packages/none/src",
    "packages/testkit/src/none.test.ts",
    "calls/none.ts",
    "@keelson/base/none.ts",
    "src/none",
  ]);
  assert.deepEqual(missingIn("packages/engine/README.md", "`calls/`, `exec.ts`, `none/`, `keelctl.ts`"), [
    "none/",
    "keelctl.ts",
  ]);
});
