import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { Code, StatusError } from "@keelson/base/status.ts";
import { isLoopback, parseHostsToml } from "./hosts-toml.ts";
import { registryHosts } from "./hosts.ts";

async function configDir(t: TestContext, files: Record<string, string>): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), "keelson-hosts-"));
  t.after(() => rm(dir, { recursive: true }));
  for (const [name, text] of Object.entries(files)) {
    await mkdir(join(dir, name, ".."), { recursive: true });
    await writeFile(join(dir, name), text);
  }
  return dir;
}

test("without a file the registry itself is used, over TLS unless it is on this machine", async () => {
  const url = async (registry: string) =>
    (await registryHosts(registry, ["/nonexistent"])).map((h) => [h.baseUrl, h.namespace]);
  assert.deepEqual(await url("docker.io"), [["https://registry-1.docker.io/v2", undefined]]);
  assert.deepEqual(await url("quay.io"), [["https://quay.io/v2", undefined]]);
  assert.deepEqual(await url("localhost:5000"), [["http://localhost:5000/v2", undefined]]);
  assert.deepEqual(await url("127.0.0.1:5000"), [["http://127.0.0.1:5000/v2", undefined]]);
  assert.deepEqual(await url("[::1]:5000"), [["http://[::1]:5000/v2", undefined]]);
  assert.deepEqual(await url("10.0.0.1:5000"), [["https://10.0.0.1:5000/v2", undefined]]);
  assert.equal(isLoopback("127.example"), false);
});

test("mirrors come first in the order of the file, each with ?ns=, then the server", async (t) => {
  const dir = await configDir(t, {
    "docker.io/hosts.toml": `
server = "https://registry-1.docker.io"
[host."https://mirror.example"]
  capabilities = ["pull"]
  skip_verify = true
  [host."https://mirror.example".header]
    x-team = ["a", "b"]
[host."http://plain.example:8080/path/"]
  override_path = true
`,
  });
  const hosts = await registryHosts("docker.io", [dir]);
  assert.deepEqual(
    hosts.map((h) => h.baseUrl),
    ["https://mirror.example/v2", "http://plain.example:8080/path", "https://registry-1.docker.io/v2"],
  );
  assert.deepEqual(
    hosts.map((h) => h.namespace),
    ["docker.io", "docker.io", undefined],
  );
  assert.deepEqual(
    hosts.map((h) => [h.pull, h.resolve]),
    [
      [true, false],
      [true, true],
      [true, true],
    ],
  );
  assert.deepEqual(hosts[0]?.headers, { "x-team": "a, b" });
  assert.equal(hosts[0]?.tls.skipVerify, true);
});

test("the first directory with the registry's file is used, and _default for registries without a file", async (t) => {
  const first = await configDir(t, { "quay.io/hosts.toml": '[host."https://q.example"]' });
  const second = await configDir(t, {
    "_default/hosts.toml": '[host."https://d.example"]',
    "quay.io/hosts.toml": "",
    "a.example_5000_/hosts.toml": 'server = "http://a.example:5000"',
  });
  const url = async (registry: string) => (await registryHosts(registry, [first, second])).map((h) => h.baseUrl);
  assert.deepEqual(await url("quay.io"), ["https://q.example/v2", "https://quay.io/v2"]);
  assert.deepEqual(await url("ghcr.io"), ["https://d.example/v2", "https://ghcr.io/v2"]);
  assert.deepEqual(await url("a.example:5000"), ["http://a.example:5000/v2"]);
});

test("certificates are read relative to the file; Docker's layout is supported too", async (t) => {
  const dir = await configDir(t, {
    "a.example/hosts.toml": 'ca = "ca.pem"\nclient = [["c.pem", "k.pem"]]',
    "a.example/ca.pem": "CA",
    "a.example/c.pem": "CERT",
    "a.example/k.pem": "KEY",
    "b.example/root.crt": "CRT",
    "b.example/me.cert": "C",
    "b.example/me.key": "K",
    "localhost:5000/hosts.toml": "skip_verify = true",
    "gone.example/hosts.toml": 'ca = "missing.pem"',
  });
  const [a] = await registryHosts("a.example", [dir]);
  assert.deepEqual(a?.tls, { ca: ["CA"], client: { cert: "CERT", key: "KEY" }, skipVerify: false });
  const [b] = await registryHosts("b.example", [dir]);
  assert.deepEqual(b?.tls, { ca: ["CRT"], client: { cert: "C", key: "K" }, skipVerify: false });
  assert.equal((await registryHosts("localhost:5000", [dir]))[0]?.baseUrl, "https://localhost:5000/v2");
  await assert.rejects(
    registryHosts("gone.example", [dir]),
    (error) =>
      error instanceof StatusError && error.code === Code.FailedPrecondition && /missing\.pem/.test(error.message),
  );
});

for (const [text, why] of [
  ["server = 5", /server must be a string/],
  ['server = "ftp://x"', /server must be an address/],
  ['[host."https://a b"]', /must be an address/],
  ['[host."https://user:pw@a"]', /must be an address/],
  ['[host."https://a"]\ncapabilities = ["push", "fly"]', /allowed are pull, resolve and push/],
  ['[host."https://a"]\nskip_verify = "yes"', /skip_verify must be true or false/],
  ['[host."https://a".header]\n"x y" = "z"', /header/],
  ['[host."https://a".header]\nx = "z\\r\\nevil: 1"', /header/],
  ["host = 3", /host must be a table/],
  ["a = ", /hosts\.toml/],
] as const) {
  test(`a file with ${JSON.stringify(text)} is refused, and the error names it`, () => {
    assert.throws(
      () => parseHostsToml(text, "/x/hosts.toml"),
      (error) =>
        error instanceof StatusError &&
        error.code === Code.InvalidArgument &&
        error.message.startsWith("/x/hosts.toml") &&
        why.test(error.message),
    );
  });
}
