import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Code, StatusError } from "@keelson/base/status.ts";
import { parse } from "smol-toml";
import { defaultConfigFile } from "./default-file.ts";
import { loadConfig, parseConfig } from "./load.ts";

test("the default file, with every key uncommented, is valid and says what the defaults are", () => {
  const defaults = parseConfig({}, "none");
  const uncommented = defaultConfigFile.replaceAll(/^# (\[runtimes\.crun\]|[a-z_]+ = .*)$/gm, "$1");
  const { runtimes, default_runtime, cgroup_driver, cni, metrics, streaming, tracing, ...rest } = parseConfig(parse(uncommented), "default");
  assert.equal(runtimes["crun"]?.path, "crun");
  assert.deepEqual([default_runtime, cgroup_driver], ["crun", "systemd"]);
  assert.deepEqual(metrics.address, { host: "127.0.0.1", port: 9479 });
  assert.deepEqual(tracing, { endpoint: "http://127.0.0.1:4318" });
  const { tls_cert_file: cert, tls_key_file: key, ...streamingRest } = streaming;
  assert.deepEqual([cert, key], ["/etc/keelson/streaming.crt", "/etc/keelson/streaming.key"]);
  assert.deepEqual({ ...rest, streaming: streamingRest, metrics: {}, tracing: {}, runtimes: {}, cni: { conf_dir: cni.conf_dir, bin_dirs: cni.bin_dirs } }, defaults);
});

test("the default file names every key of the schema", () => {
  const { root, log, registry, images, pods, containers, cni, streaming, timeouts } = parseConfig({}, "none");
  for (const key of Object.keys({ root, ...log, ...registry, ...images, ...pods, ...containers, ...cni, ...streaming, ...timeouts })) {
    assert.match(defaultConfigFile, new RegExp(`^# ${key} = `, "m"));
  }
});

for (const [toml, expected] of [
  ["rot = '/x'", "f.toml: rot: unknown key; `keelsond config default` lists all"],
  ["[images]\nkeep_layer = true", "f.toml: images.keep_layer: unknown key; `keelsond config default` lists all"],
  ["root = 'relative'", "f.toml: root: must be an absolute path"],
  ["socket = 'tcp://x'", "f.toml: socket: must be unix:///path"],
  ["[log]\nlevel = 'loud'", 'f.toml: log.level: must be ("debug" | "info" | "warn" | "error"), not "loud"'],
  ["[images]\nkeep_layers = 'yes'", 'f.toml: images.keep_layers: must be boolean, not "yes"'],
  ["[streaming]\naddress = 'localhost'", "f.toml: streaming.address: must be an IP address"],
  ["[streaming]\nport = 65536", "f.toml: streaming.port: Invalid value: Expected <=65535 but received 65536"],
  ["[streaming]\ntls_key_file = '/k'", "f.toml: streaming.tls_cert_file: is required beside the other of the two"],
  ["default_runtime = 'kata'", 'f.toml: default_runtime: "kata" has no [runtimes.kata]; allowed: crun, runc'],
  ["[metrics]\naddress = 'localhost:80'", 'f.toml: metrics.address: must be an IP address and a port, such as 127.0.0.1:9479 or [::1]:9479'],
  ["[metrics]\naddress = '127.0.0.1:70000'", 'f.toml: metrics.address: must be an IP address and a port, such as 127.0.0.1:9479 or [::1]:9479'],
  ["[metrics]\naddress = '::1:80'", 'f.toml: metrics.address: must be an IP address and a port, such as 127.0.0.1:9479 or [::1]:9479'],
  ["[tracing]\nendpoint = 'file:///x'", "f.toml: tracing.endpoint: must be an address such as http://127.0.0.1:4318"],
  ["log = 3", "f.toml: log: must be a section"],
  ["[runtimes.x]\ntype = 'oci'", "f.toml: runtimes.x.path: is required"],
] as const) {
  test(`a wrong file is refused by key: ${toml.replace("\n", " ")}`, () => {
    assert.throws(
      () => parseConfig(parse(toml), "f.toml"),
      (e: unknown) => {
        assert.ok(e instanceof StatusError && e.code === Code.InvalidArgument);
        assert.equal(e.message, expected);
        return true;
      },
    );
  });
}

test("a file is named when it is missing or is no TOML; the command line wins over it", (t) => {
  const dir = mkdtempSync(join(tmpdir(), "keelson-config-"));
  t.after(() => rmSync(dir, { recursive: true }));
  const file = join(dir, "config.toml");
  assert.throws(() => loadConfig(file), /config\.toml: there is no such file/);
  writeFileSync(file, "root = '/a'\n[log\n");
  assert.throws(() => loadConfig(file), /config\.toml: line 2:/);
  writeFileSync(file, "root = '/a'\nstate = '/b'\n");
  const config = loadConfig(file, { root: "/c" });
  assert.deepEqual([config.root, config.state], ["/c", "/b"]);
});
