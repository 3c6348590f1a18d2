import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, type StatusError } from "@keelson/base/status.ts";
import { decodeResult } from "@keelson/cni/result.ts";
import { podIps } from "./pod-ips.ts";

const interfaces = [{ name: "cni0" }, { name: "eth0", sandbox: "/run/pin" }, { name: "net1", sandbox: "/run/pin" }];
const ipsOf = (...ips: object[]): string[] => podIps(decodeResult({ interfaces, ips }, "1.0.0"), "eth0");

test("the first IPv4 address is the primary one, and the others keep their order", () => {
  assert.deepEqual(
    ipsOf(
      { address: "fd00::5/64", interface: 1 },
      { address: "10.1.0.5/16", interface: 1 },
      { address: "10.2.0.5/16", interface: 1 },
    ),
    ["10.1.0.5", "fd00::5", "10.2.0.5"],
  );
  assert.deepEqual(ipsOf({ address: "fd00::5/64", interface: 1 }), ["fd00::5"]);
});

test("addresses of other interfaces are not the pod's, but those without an interface are", () => {
  assert.deepEqual(
    ipsOf(
      { address: "10.1.0.1/16", interface: 0 },
      { address: "10.9.0.5/16", interface: 2 },
      { address: "10.1.0.5/16" },
    ),
    ["10.1.0.5"],
  );
});

test("a pod without an address is an error", () => {
  assert.throws(
    () => ipsOf({ address: "10.1.0.1/16", interface: 0 }),
    (error: StatusError) => error.code === Code.FailedPrecondition,
  );
});
