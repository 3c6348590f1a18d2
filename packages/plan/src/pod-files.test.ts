import assert from "node:assert/strict";
import { isIP } from "node:net";
import { test } from "node:test";
import * as fc from "fast-check";
import { isIpAddress } from "./ip-address.ts";
import { hostnameFile, hostsFile } from "./pod-files.ts";

test("the hosts file has the pod's addresses with its long and short names", () => {
  const text = hostsFile({ hostname: "web.example.org", ips: ["10.0.0.2", "fd00::2"], hostNetwork: false });
  assert.match(text, /^127\.0\.0\.1\tlocalhost\n/);
  assert.match(text, /\n10\.0\.0\.2\tweb\.example\.org web\nfd00::2\tweb\.example\.org web\n$/);
});

test("in the host's network the hosts file is the host's", () => {
  assert.equal(hostsFile({ hostname: "x", ips: [], hostNetwork: true, hostHosts: "1.2.3.4 me\n" }), "1.2.3.4 me\n");
  assert.match(hostsFile({ hostname: "x", ips: [], hostNetwork: true }), /localhost/);
  assert.equal(hostnameFile("x"), "x\n");
});

test("addresses are recognised as by Node", () => {
  const part = fc.constantFrom("", ":", "::", ".", "0", "255", "256", "01", "1.2.3.4", "ffff", "fffff", "g", "10");
  fc.assert(
    fc.property(
      fc.oneof(
        fc.ipV4(),
        fc.ipV6(),
        fc.array(part).map((parts) => parts.join("")),
      ),
      (text) => assert.equal(isIpAddress(text), isIP(text) !== 0, text),
    ),
    { numRuns: 2000 },
  );
});
