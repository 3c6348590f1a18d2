import assert from "node:assert/strict";
import { test } from "node:test";
import { NamespaceMode } from "@keelson/cri/gen/runtime/v1/api.ts";
import { readContainerConfig, readPodConfig } from "./config-file.ts";
import type { Io } from "./io.ts";

function stdin(text: string) {
  const notes: string[] = [];
  const io = {
    readStdin: () => Promise.resolve(text),
    stderr: { write: (note: string) => (notes.push(note), Promise.resolve()) },
  } as unknown as Io;
  return { io, notes };
}

test("JSON and YAML, snake and camel case, numbers where text belongs, enums by name or number", async () => {
  const { io, notes } = stdin(`
metadata: {name: web, namespace: default, attempt: "2"}
hostname: 7
logDirectory: /tmp
labels: {version: 1, on: true}
linux: {cgroup_parent: /x, security_context: {namespace_options: {network: 2, pid: CONTAINER}}}
`);
  const config = await readPodConfig(io, "-");
  assert.equal(config.metadata!.attempt, 2);
  assert.equal(config.hostname, "7");
  assert.deepEqual(config.labels, { version: "1", on: "true" });
  const options = config.linux!.securityContext!.namespaceOptions!;
  assert.deepEqual([options.network, options.pid], [NamespaceMode.NODE, NamespaceMode.CONTAINER]);
  assert.deepEqual(notes, []);
});

test("fields that do not exist are ignored as in crictl, but with a note", async () => {
  const { io, notes } = stdin('{"metadata":{"name":"a","namespace":"b","nmae":1},"loggDirectory":"x"}');
  await readPodConfig(io, "-");
  assert.deepEqual(notes, [
    "keelctl: -: ignored what a PodSandboxConfig does not have: metadata.nmae, loggDirectory\n",
  ]);
});

test("environment values are plain text", async () => {
  const { io } = stdin(
    "metadata: {name: a}\nimage: {image: b}\nenvs: [{key: A, value: héllo}, {key: N, value: 5}]\nCDI_devices: [{name: v/c=d}]\n",
  );
  const config = await readContainerConfig(io, "-");
  assert.deepEqual(
    config.envs.map(({ value }) => value.toString()),
    ["héllo", "5"],
  );
  assert.equal(config.CDIDevices[0]!.name, "v/c=d");
});

for (const [text, message] of [
  ["{", /stdin: Flow map must end with a \}/],
  ["[]", /^StatusError: stdin: PodSandboxConfig must be an object$/],
  ["", /^StatusError: stdin: PodSandboxConfig must be an object$/],
  ["metadata: {name: x}", /^StatusError: stdin: metadata\.namespace is missing$/],
  ["metadata: {namespace: x}", /^StatusError: stdin: metadata\.name is missing$/],
  ["metadata: {name: x, namespace: y}\nlabels: [1]", /labels must be an object of strings/],
  [
    "metadata: {name: x, namespace: y}\nport_mappings: [{protocol: 9}]",
    /port_mappings\[0\]\.protocol must be one of TCP/,
  ],
] as const) {
  test(`a wrong file is refused, naming the place: ${JSON.stringify(text)}`, async () => {
    await assert.rejects(readPodConfig(stdin(text).io, "-"), message);
  });
}

test("a file that does not exist", async () => {
  await assert.rejects(
    readContainerConfig(stdin("").io, "/nowhere.json"),
    /^StatusError: \/nowhere\.json: there is no such file$/,
  );
});
