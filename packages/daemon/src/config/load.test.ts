import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Code, StatusError } from "@keelson/base/status.ts";
import { handlerSection, handlersOf, shimProgram } from "@keelson/runtimes/handler-section.ts";
import { parse } from "smol-toml";
import { defaultConfigFile } from "./default-file.ts";
import { loadConfig, parseConfig } from "./load.ts";

test("the default file, with every key uncommented, is valid and shows the defaults", () => {
  const defaults = parseConfig({}, "none");
  const uncommented = defaultConfigFile.replaceAll(/^# (\[runtimes\.crun\]|(?!options)[a-z_]+ = .*)$/gm, "$1");
  const { runtimes, default_runtime, cgroup_driver, cni, metrics, streaming, tracing, ...rest } = parseConfig(
    parse(uncommented),
    "default",
  );
  assert.deepEqual([...Object.keys(runtimes["crun"]!), "options"].sort(), Object.keys(handlerSection.entries).sort());
  assert.deepEqual([default_runtime, cgroup_driver], ["crun", "systemd"]);
  assert.deepEqual(metrics.address, { host: "127.0.0.1", port: 9479 });
  assert.deepEqual(tracing, { endpoint: "http://127.0.0.1:4318" });
  const { tls_cert_file: cert, tls_key_file: key, ...streamingRest } = streaming;
  assert.deepEqual([cert, key], ["/etc/keelson/streaming.crt", "/etc/keelson/streaming.key"]);
  assert.deepEqual(
    {
      ...rest,
      streaming: streamingRest,
      metrics: {},
      tracing: {},
      runtimes: {},
      cni: { conf_dir: cni.conf_dir, bin_dirs: cni.bin_dirs },
    },
    defaults,
  );
});

test("the default file names every key of the schema", () => {
  const { root, log, registry, images, pods, containers, cni, security, streaming, timeouts } = parseConfig({}, "none");
  for (const key of Object.keys({
    root,
    ...log,
    ...registry,
    ...images,
    ...pods,
    ...containers,
    ...cni,
    ...security,
    ...streaming,
    ...timeouts,
  })) {
    assert.match(defaultConfigFile, new RegExp(`^# ${key} = `, "m"));
  }
});

for (const [toml, expected] of [
  ["rot = '/x'", "f.toml: rot: unknown key; `keelsond config default` lists all"],
  ["[images]\nkeep_layer = true", "f.toml: images.keep_layer: unknown key; `keelsond config default` lists all"],
  ["root = 'relative'", "f.toml: root: must be an absolute path"],
  ["socket = 'tcp://x'", "f.toml: socket: must be unix:///path or an absolute path"],
  ["[log]\nlevel = 'loud'", 'f.toml: log.level: must be ("debug" | "info" | "warn" | "error"), not "loud"'],
  ["[images]\nkeep_layers = 'yes'", 'f.toml: images.keep_layers: must be boolean, not "yes"'],
  ["[streaming]\naddress = 'localhost'", "f.toml: streaming.address: must be an IP address"],
  ["[streaming]\nport = 65536", "f.toml: streaming.port: Invalid value: Expected <=65535 but received 65536"],
  ["[streaming]\ntls_key_file = '/k'", "f.toml: streaming.tls_cert_file: is required with the other of the two"],
  ["default_runtime = 'kata'", 'f.toml: default_runtime: "kata" has no [runtimes.kata]; allowed: crun, runc, runsc'],
  [
    "[metrics]\naddress = 'localhost:80'",
    "f.toml: metrics.address: must be an IP address and a port, such as 127.0.0.1:9479 or [::1]:9479",
  ],
  [
    "[metrics]\naddress = '127.0.0.1:70000'",
    "f.toml: metrics.address: must be an IP address and a port, such as 127.0.0.1:9479 or [::1]:9479",
  ],
  [
    "[metrics]\naddress = '::1:80'",
    "f.toml: metrics.address: must be an IP address and a port, such as 127.0.0.1:9479 or [::1]:9479",
  ],
  ["[tracing]\nendpoint = 'file:///x'", "f.toml: tracing.endpoint: must be an address such as http://127.0.0.1:4318"],
  ["log = 3", "f.toml: log: must be a section"],
  ["[runtimes.x]\ntype = 'oci'", "f.toml: runtimes.x.path: is required"],
  [
    "[runtimes.runc]\ntype = 'shim'",
    'f.toml: runtimes.runc.path: is required with type = "shim", such as "io.containerd.runc.v2"',
  ],
  ["[runtimes.X]\npath = 'x'", "f.toml: runtimes.X: must be a DNS label"],
  ["[runtimes.x]\npath = 'x'\ntype = 'vm'", 'f.toml: runtimes.x.type: must be ("oci" | "shim"), not "vm"'],
  ["[runtimes.x]\npath = ''", "f.toml: runtimes.x.path: must name a program"],
  [
    "[runtimes.x]\npath = 'x'\nplatform = 'kvm'",
    "f.toml: runtimes.x.platform: unknown key; `keelsond config default` lists all",
  ],
  [
    "[runtimes.runsc]\nsandbox = 'none'",
    'f.toml: runtimes.runsc.sandbox: must be "container", which is the default: gVisor runs the containers of a pod in one',
  ],
  [
    "[runtimes.x]\npath = 'x'\noptions = {a = 1}",
    'f.toml: runtimes.x.options: is only for type = "shim"; an OCI runtime takes args',
  ],
  [
    "[runtimes.x]\ntype = 'shim'\npath = 'x'\nargs = ['-v']",
    'f.toml: runtimes.x.args: is only for type = "oci"; a shim takes options',
  ],
  [
    "[runtimes.x]\ntype = 'shim'\npath = 'x'\nmonitor = 'conmon'",
    'f.toml: runtimes.x.monitor: is only for type = "oci"; a shim takes options',
  ],
  [
    "[runtimes.x]\ntype = 'shim'\npath = 'io.containerd.runc.v2'\noptions = {BinaryName = 1}",
    "f.toml: runtimes.x.options.BinaryName: must be a string",
  ],
  [
    "[runtimes.x]\ntype = 'shim'\npath = '/opt/containerd-shim-runc-v2'\noptions = {Binary = 'crun'}",
    "f.toml: runtimes.x.options.Binary: is none of this shim's options: BinaryName, CriuImagePath, CriuWorkPath, IoGid, IoUid, NoNewKeyring, NoPivotRoot, Root, ShimCgroup, SystemdCgroup",
  ],
  [
    "[runtimes.x]\ntype = 'shim'\npath = 'io.containerd.kata.v2'\noptions = {config_path = '/x'}",
    "f.toml: runtimes.x.options.config_path: is none of this shim's options: ConfigBody, ConfigPath, TypeUrl, Value",
  ],
  ["[runtimes.x]\npath = 'x'\nsandbox = 'vm'", 'f.toml: runtimes.x.sandbox: must be ("none" | "container"), not "vm"'],
  [
    "[runtimes.x]\npath = 'x'\nsnapshotter = 'overlayfs'",
    "f.toml: runtimes.x.snapshotter: unknown key; `keelsond config default` lists all",
  ],
  [
    "[runtimes.x]\npath = 'x'\npod_annotations = ['[a]']",
    "f.toml: runtimes.x.pod_annotations.0: must be an annotation's key, with * and ? for what may differ",
  ],
  ["[runtimes.x]\npath = 'x'\nbase_spec = 'spec.json'", "f.toml: runtimes.x.base_spec: must be an absolute path"],
  ["[runtimes.x]\npath = 'x'\ncni_conf_dir = 'net.d'", "f.toml: runtimes.x.cni_conf_dir: must be an absolute path"],
  [
    "[runtimes.x]\npath = 'x'\noverhead = {memory = '1 GB'}",
    "f.toml: runtimes.x.overhead.memory: must be a quantity such as 250m or 160Mi",
  ],
  [
    "[runtimes.x]\npath = 'x'\nfeatures = {idmaps = true}",
    "f.toml: runtimes.x.features.idmaps: unknown key; `keelsond config default` lists all",
  ],
] as const) {
  test(`an invalid file is refused by key: ${toml.replaceAll("\n", " ")}`, () => {
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

test("errors name a file that is missing or not TOML; the command line takes precedence over the file", (t) => {
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

test("a shim is found by its name in containerd", () => {
  assert.equal(shimProgram("io.containerd.runc.v2"), "containerd-shim-runc-v2");
  assert.equal(shimProgram("io.containerd.wasmtime.v1"), "containerd-shim-wasmtime-v1");
  for (const path of ["/opt/kata/bin/containerd-shim-kata-v2", "containerd-shim-runc-v2", "./a.b.v2", "a..v2", ".v2"])
    assert.equal(shimProgram(path), path);
});

test("what a section leaves out follows from its program: pods of gVisor and Kata are containers themselves", () => {
  const { runtimes } = parseConfig(
    parse(`
[runtimes.crun]
root = "/run/crun"
[runtimes.gvisor]
path = "/opt/runsc"
args = ["--network=host"]
[runtimes.shim]
type = "shim"
path = "io.containerd.runc.v2"
options = { BinaryName = "crun" }
[runtimes.kata]
type = "shim"
path = "io.containerd.kata.v2"
options = { ConfigPath = "/etc/kata.toml" }
[runtimes.flat]
type = "shim"
path = "/opt/containerd-shim-flat-v1"
sandbox = "none"
`),
    "f.toml",
  );
  const shown = handlersOf(runtimes).map(({ name, type, path, args, sandbox, isConfigured }) => [
    name,
    type,
    path,
    args.join(" "),
    sandbox,
    isConfigured,
  ]);
  assert.deepEqual(shown, [
    ["crun", "oci", "crun", "", "none", true],
    ["runc", "oci", "runc", "", "none", false],
    ["runsc", "oci", "runsc", "--platform=systrap --overlay2=none", "container", false],
    ["gvisor", "oci", "/opt/runsc", "--network=host", "container", true],
    ["shim", "shim", "containerd-shim-runc-v2", "", "none", true],
    ["kata", "shim", "containerd-shim-kata-v2", "", "container", true],
    ["flat", "shim", "/opt/containerd-shim-flat-v1", "", "none", true],
  ]);
});

test("what is wrong with a flag is said of the flag, and the file's own mistakes are said of the file", () => {
  const wrong = (message: RegExp) => ({ code: Code.InvalidArgument, message });
  const load = (overrides: object) => () => loadConfig(undefined, overrides);
  assert.throws(load({ socket: "tcp://x" }), wrong(/^--socket: must be unix:\/\/\/path or an absolute path$/));
  assert.throws(load({ root: "relative" }), wrong(/^--root: must be an absolute path$/));
  assert.throws(load({ logLevel: "loud" }), wrong(/^--log-level: must be .*, not "loud"$/));
});

test("a socket may be given as a path alone", () => {
  assert.equal(loadConfig(undefined, { socket: "/tmp/k.sock" }).socket, "unix:///tmp/k.sock");
  assert.equal(parseConfig({ socket: "/tmp/k.sock" }, "f.toml").socket, "unix:///tmp/k.sock");
});
