import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, StatusError } from "@keelson/base/status.ts";
import * as fc from "fast-check";
import { parseResult } from "./result.ts";
import { isAtLeast, specVersions } from "./version.ts";

const current = {
  cniVersion: "1.0.0",
  interfaces: [
    { name: "cni0", mac: "00:11:22:33:44:55" },
    { name: "eth0", mac: "99:88:77:66:55:44", mtu: 1450, sandbox: "/run/netns/blue" },
  ],
  ips: [
    { address: "10.1.0.5/16", gateway: "10.1.0.1", interface: 1 },
    { address: "fd00::5/64", interface: 1 },
  ],
  routes: [{ dst: "0.0.0.0/0" }, { dst: "::/0", gw: "fd00::1" }],
  dns: { nameservers: ["10.1.0.1"], domain: "example", search: ["a.example"], options: ["ndots:5"] },
};
const old = {
  cniVersion: "0.2.0",
  ip4: { ip: "10.1.0.5/16", gateway: "10.1.0.1", routes: [{ dst: "0.0.0.0/0" }] },
  ip6: { ip: "fd00::5/64", routes: [{ dst: "::/0", gw: "fd00::1" }] },
  dns: {},
};
const parse = (value: unknown, asked: Parameters<typeof parseResult>[1] = "1.0.0") =>
  parseResult(JSON.stringify(value), asked);

test("a result of a current version is parsed, and kept as it was written", () => {
  const { raw, ...shape } = parse({ ...current, custom: { x: 1 } });
  const { cniVersion: _, ...expected } = current;
  assert.deepEqual(shape, expected);
  assert.deepEqual(raw, { ...current, custom: { x: 1 } });
});

test("a result of an old version has no interfaces", () => {
  const { raw, ...shape } = parse(old, "0.2.0");
  assert.deepEqual(shape.interfaces, []);
  assert.deepEqual(shape.ips, [{ address: "10.1.0.5/16", gateway: "10.1.0.1" }, { address: "fd00::5/64" }]);
  assert.deepEqual(shape.routes, current.routes);
  assert.deepEqual(raw, old);
});

test("the null and empty values that Go writes are treated as absent", () => {
  const { raw: _, ...shape } = parse({
    cniVersion: "",
    interfaces: null,
    ips: null,
    routes: null,
    dns: { nameservers: null },
  });
  assert.deepEqual(shape, { interfaces: [], ips: [], routes: [], dns: { nameservers: [], search: [], options: [] } });
});

test("an answer in another version is converted to the requested one, with the same meaning", () => {
  for (const answered of specVersions) {
    for (const asked of specVersions) {
      const first = parse({ ...(isAtLeast(answered, "0.3.0") ? current : old), cniVersion: answered }, asked);
      assert.equal(first.raw["cniVersion"], asked);
      const second = parse(first.raw, asked);
      assert.deepEqual(second.raw, JSON.parse(JSON.stringify(first.raw)));
      assert.deepEqual(
        second.ips.map(({ address }) => address),
        ["10.1.0.5/16", "fd00::5/64"],
      );
      assert.deepEqual(second.routes, current.routes);
    }
  }
});

test("an unsupported version is refused", () => {
  assert.throws(
    () => parse({ ...current, cniVersion: "7.0.0" }),
    /result: cniVersion: "7.0.0" was not asked for \(1.0.0 was\)/,
  );
});

test("each mistake is reported with its key", () => {
  const cases: [object, RegExp][] = [
    [{ ips: [{ address: "10.1.0.5" }] }, /ips\[0\].address: "10.1.0.5" must be an IP address with a prefix/],
    [{ ips: [{ address: "10.1.0.5/33" }] }, /ips\[0\].address/],
    [{ ips: [{ address: "fd00::1/129" }] }, /ips\[0\].address/],
    [{ ips: [{}] }, /ips\[0\].address: is missing/],
    [
      { ips: [{ address: "10.1.0.5/16", interface: 2 }] },
      /ips\[0\].interface: 2 is not an index of interfaces, which has 2/,
    ],
    [{ ips: [{ address: "10.1.0.5/16", interface: -1 }] }, /ips\[0\].interface: must be a whole number/],
    [{ ips: [{ address: "10.1.0.5/16", gateway: "nowhere" }] }, /ips\[0\].gateway: "nowhere" is not an IP address/],
    [{ ips: "10.1.0.5/16" }, /ips: must be a list, not string/],
    [{ ips: Array.from({ length: 1025 }, () => ({})) }, /ips: has 1025 entries; at most 1024/],
    [{ interfaces: [7] }, /interfaces\[0\]: must be an object, not number/],
    [{ interfaces: [{ name: {} }], ips: [] }, /interfaces\[0\].name: must be a string/],
    [{ routes: [{ dst: "default" }] }, /routes\[0\].dst/],
    [{ dns: { nameservers: [1] } }, /dns.nameservers\[0\]: must be a string/],
    [{ dns: [] }, /dns: must be an object/],
    [{ dns: { domain: "x".repeat(5000) } }, /dns.domain: is longer than 4096/],
  ];
  for (const [change, message] of cases) {
    assert.throws(
      () => parse({ ...current, ...change }),
      (error: StatusError) => error.code === Code.InvalidArgument && message.test(error.message),
      String(message),
    );
  }
});

test("no answer causes any error other than a StatusError", () => {
  const check = (text: string): void => {
    for (const asked of ["0.2.0", "1.1.0"] as const) {
      try {
        parseResult(text, asked);
      } catch (error) {
        assert.ok(error instanceof StatusError, String(error));
      }
    }
  };
  for (const value of [current, old]) {
    const text = JSON.stringify(value);
    for (let length = 0; length < text.length; length++)
      assert.throws(() => parseResult(text.slice(0, length), "1.0.0"), StatusError);
    fc.assert(
      fc.property(fc.nat(text.length * 8 - 1), (bit) => {
        const bytes = Buffer.from(text);
        bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7));
        check(bytes.toString());
      }),
      { seed: 1, numRuns: 2000 },
    );
  }
  fc.assert(
    fc.property(
      fc.constantFrom("cniVersion", "interfaces", "ips", "routes", "dns", "ip4", "ip6", "__proto__"),
      fc.jsonValue(),
      (key, value) => check(`{${JSON.stringify(key)}:${JSON.stringify(value)}}`),
    ),
    { seed: 2, numRuns: 2000 },
  );
  for (const text of ["", "<html>", "null", "[]", "\0", "[".repeat(1_000_000)]) check(text);
});
