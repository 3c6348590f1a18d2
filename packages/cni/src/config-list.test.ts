import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, StatusError } from "@keelson/base/status.ts";
import * as fc from "fast-check";
import { encodeConfigList, parseConfigList, parsePluginConfig, parseSingleConfig } from "./config-list.ts";

const list = {
  cniVersion: "1.0.0",
  name: "podnet",
  plugins: [
    { type: "bridge", bridge: "cni0", ipam: { type: "host-local", subnet: "10.1.0.0/16" }, custom: [1, { a: null }] },
    { type: "portmap", capabilities: { portMappings: true, other: false } },
  ],
};
const parse = (value: unknown) => parseConfigList(JSON.stringify(value), "net.conflist");

test("a list keeps its plugins with all of their keys", () => {
  const parsed = parse(list);
  assert.equal(parsed.name, "podnet");
  assert.equal(parsed.cniVersion, "1.0.0");
  assert.deepEqual(
    parsed.plugins.map(({ type, capabilities }) => [type, [...capabilities]]),
    [
      ["bridge", []],
      ["portmap", ["portMappings"]],
    ],
  );
  assert.deepEqual(
    parsed.plugins.map(({ raw }) => raw),
    list.plugins,
  );
});

test("an encoded list is read back the same", () => {
  const parsed = parse({ ...list, disableCheck: true, disableGC: "TRUE" });
  assert.equal(parsed.disableGC, true);
  assert.deepEqual(parseConfigList(encodeConfigList(parsed), "again"), parsed);
});

test("a single configuration becomes a list of one", () => {
  const parsed = parseSingleConfig(
    JSON.stringify({ cniVersion: "0.4.0", name: "one", type: "ptp", mtu: 9000 }),
    "one.conf",
  );
  assert.deepEqual([parsed.name, parsed.cniVersion, parsed.plugins[0]?.raw["mtu"]], ["one", "0.4.0", 9000]);
  assert.throws(
    () => parseSingleConfig(JSON.stringify(list), "one.conf"),
    /^StatusError: one.conf: plugins: belongs in a file that ends in .conflist$/,
  );
});

test("the highest version that both sides support is chosen", () => {
  for (const [cniVersion, cniVersions, chosen] of [
    [undefined, undefined, "0.1.0"],
    ["0.3.1", undefined, "0.3.1"],
    ["0.3.1", ["1.0.0", "0.4.0"], "1.0.0"],
    ["2.0.0", ["1.1.0", "9.9.9"], "1.1.0"],
    ["", ["0.2.0"], "0.2.0"],
  ] as const) {
    assert.equal(parse({ ...list, cniVersion, cniVersions }).cniVersion, chosen);
  }
});

test("each mistake is reported with the file and the key", () => {
  const cases: [unknown, RegExp][] = [
    [{ ...list, name: undefined }, /name: must be a string, not undefined/],
    [{ ...list, name: "../etc" }, /name: "\.\.\/etc" must be 1 to 128/],
    [{ ...list, name: "-x" }, /name: /],
    [{ ...list, name: "a".repeat(129) }, /name: /],
    [{ ...list, cniVersion: "2.0.0" }, /cniVersion: "2.0.0" is not supported; allowed: 0.1.0, /],
    [{ ...list, cniVersion: 1 }, /cniVersion: must be a string/],
    [{ ...list, cniVersions: ["1.0.0", 2] }, /cniVersions\[1\]: must be a string/],
    [{ ...list, disableCheck: "yes" }, /disableCheck: must be true or false/],
    [{ ...list, plugins: undefined, loadOnlyInlinedPlugins: true }, /plugins: is required/],
    [{ ...list, plugins: [] }, /plugins: must be a list with at least one/],
    [{ ...list, plugins: [[]] }, /plugins\[0\]: must be an object, not array/],
    [{ ...list, plugins: [{}] }, /plugins\[0\].type: must be a string/],
    ...["../../bin/sh", "/bin/sh", "a\\b", "..", "", "a b", "a\0b"].map((type): [unknown, RegExp] => [
      { ...list, plugins: [{ type }] },
      /plugins\[0\].type: ".*" must be the plain name/,
    ]),
    [
      { ...list, plugins: [{ type: "x", capabilities: { ips: "yes" } }] },
      /plugins\[0\].capabilities.ips: must be true or false/,
    ],
    [[], /is not a JSON object/],
  ];
  for (const [value, message] of cases) {
    assert.throws(
      () => parse(value),
      (error: StatusError) => {
        assert.equal(error.code, Code.InvalidArgument);
        assert.match(error.message, /^net.conflist: /);
        assert.match(error.message, message);
        return true;
      },
    );
  }
});

test("lists that are too large or nested too deeply are refused", () => {
  assert.throws(() => parse({ ...list, note: "x".repeat(1 << 20) }), /is larger than 1048576 bytes/);
  assert.throws(() => parse({ ...list, note: "é".repeat(600_000) }), /is larger than 1048576 bytes/);
  const deep = "[".repeat(100_000) + "]".repeat(100_000);
  assert.throws(
    () => parseConfigList(`{"name":"a","plugins":[{"type":"x","deep":${deep}}]}`, "f"),
    /nested more than 64 levels/,
  );
});

test("a plugin's own file needs only a type", () => {
  assert.equal(parsePluginConfig('{"type":"tuning"}', "f").type, "tuning");
  assert.throws(() => parsePluginConfig("{}", "dir/f.conf"), /dir\/f.conf: type: must be a string/);
});

test("no text causes any error other than a StatusError", () => {
  const text = JSON.stringify(list);
  for (let length = 0; length < text.length; length++)
    assert.throws(() => parseConfigList(text.slice(0, length), "f"), StatusError);
  const check = (text: string): void => {
    for (const parse of [parseConfigList, parseSingleConfig, parsePluginConfig]) {
      try {
        parse(text, "f");
      } catch (error) {
        assert.ok(error instanceof StatusError, String(error));
      }
    }
  };
  fc.assert(
    fc.property(fc.nat(text.length * 8 - 1), (bit) => check(flipBit(text, bit))),
    { seed: 1, numRuns: 2000 },
  );
  fc.assert(fc.property(fc.json(), check), { seed: 2, numRuns: 500 });
  fc.assert(
    fc.property(
      fc.constantFrom("name", "cniVersion", "cniVersions", "plugins", "disableGC", "type", "capabilities"),
      fc.jsonValue(),
      (key, value) => check(JSON.stringify({ ...list, type: "x", [key]: value })),
    ),
    { seed: 3, numRuns: 1000 },
  );
});

function flipBit(text: string, bit: number): string {
  const bytes = Buffer.from(text);
  const index = bit >> 3;
  bytes[index] = (bytes[index] ?? 0) ^ (1 << (bit & 7));
  return bytes.toString();
}
