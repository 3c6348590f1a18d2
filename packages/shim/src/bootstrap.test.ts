import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, StatusError } from "@keelson/base/status.ts";
import * as fc from "fast-check";
import { parseBootstrap, socketPathOf } from "./bootstrap.ts";

const parse = (text: string) => parseBootstrap(Buffer.from(text));

function hasCode(code: number, message: RegExp) {
  return (e: unknown) => e instanceof StatusError && e.code === code && message.test(e.message);
}

test("a line with an address comes from a shim that speaks Task v2", () => {
  for (const text of [
    "unix:///run/containerd/s/abc",
    "unix:///run/containerd/s/abc\n",
    "  unix:///run/containerd/s/abc \r\n",
  ]) {
    assert.deepEqual(parse(text), { version: 2, address: "unix:///run/containerd/s/abc" });
  }
});

test("an address without unix:// is the name of an abstract socket", () => {
  const name = "/containerd-shim/k8s.io/abc/shim.sock";
  for (const text of [name, `unix://@${name}`, ` ${name}\n`])
    assert.deepEqual(parse(text), { version: 2, address: `unix://@${name}` });
  assert.deepEqual(parse("@x"), { version: 2, address: "unix://@@x" }, "as containerd reads it");
  assert.deepEqual(parse("unix://@x"), { version: 2, address: "unix://@x" });
  assert.deepEqual(parse(`/${"x".repeat(106)}`).address.length, "unix://@".length + 107);
  assert.equal(socketPathOf(parse(name)), undefined);
  assert.equal(socketPathOf(parse("unix:///run/s")), "/run/s");
});

test("JSON has the version and the protocol", () => {
  const address = "unix:///run/s";
  assert.deepEqual(parse(JSON.stringify({ version: 3, address, protocol: "ttrpc" })), { version: 3, address });
  assert.deepEqual(parse(JSON.stringify({ version: 2, address, protocol: "" })), { version: 2, address });
  assert.deepEqual(parse(`\n${JSON.stringify({ version: 3, address: "/run/s", more: [1] }, null, 2)}\n`), {
    version: 3,
    address: "unix://@/run/s",
  });
});

test("a protocol that keelson does not speak is named in the error", () => {
  const address = "unix:///run/s";
  const cases: [object | string, RegExp][] = [
    [{ version: 4, address }, /version 4 of the protocol; keelson speaks 2 and 3/],
    [{ address }, /version undefined/],
    [{ version: "3", address }, /version "3"/],
    [{ version: 3, address, protocol: "grpc" }, /the protocol .*grpc.*; keelson speaks ttrpc/],
    [{ version: 3, address: "vsock://3:1024", protocol: "ttrpc" }, /vsock:.*keelson connects to unix sockets/],
    ["tcp://127.0.0.1:80", /tcp:/],
  ];
  for (const [output, message] of cases)
    assert.throws(
      () => parse(typeof output === "string" ? output : JSON.stringify(output)),
      hasCode(Code.FailedPrecondition, message),
    );
});

test("an unusable answer is quoted in the error, in part", () => {
  const cases: [string, RegExp][] = [
    ["", /printed nothing/],
    [" \n", /printed nothing/],
    ["panic: no such thing\ngoroutine 1", /printed no address.*panic: no such thing/],
    ["unix://relative", /no address/],
    ["unix:///a\0b", /no address/],
    ["unix:///a\nunix:///b", /no address/],
    [`unix:///${"x".repeat(107)}`, /longer than the 107 bytes/],
    ['{"version":3', /broken JSON/],
    ['{"version":3}', /JSON without an address/],
    ['{"version":3,"address":null}', /JSON without an address/],
    ["x".repeat(5000), /5000 bytes or more/],
    ['{"version":2,"address":"', /broken JSON/],
  ];
  for (const [output, message] of cases) {
    assert.throws(
      () => parse(output),
      (e: unknown) => hasCode(Code.Internal, message)(e) && (e as Error).message.length < 600,
      output.slice(0, 40),
    );
  }
});

test("any bytes are an address of ours or a StatusError", () => {
  const texts = fc.oneof(
    fc.string({ unit: "binary" }),
    fc.json(),
    fc.webPath().map((path) => `unix://${path}`),
    fc
      .record({
        version: fc.constantFrom(2, 3, "2", null),
        address: fc.string(),
        protocol: fc.constantFrom("ttrpc", "", undefined, 1),
      })
      .map((o) => JSON.stringify(o)),
  );
  const outputs = fc.oneof(
    texts.map((text) => Buffer.from(text)),
    fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
  );
  fc.assert(
    fc.property(outputs, (output) => {
      try {
        const { version, address } = parseBootstrap(output);
        assert.ok(
          (version === 2 || version === 3) && /^unix:\/\/[/@]/.test(address) && Buffer.byteLength(address) <= 115,
        );
      } catch (error) {
        assert.ok(error instanceof StatusError, String(error));
      }
    }),
    { numRuns: 2000 },
  );
});
