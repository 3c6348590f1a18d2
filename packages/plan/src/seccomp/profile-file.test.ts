import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, StatusError } from "@keelson/base/status.ts";
import * as fc from "fast-check";
import { defaultSeccomp } from "./default-profile.ts";
import { maxProfileBytes, parseSeccompProfile } from "./profile-file.ts";

test("our own profile is read back unchanged", () => {
  const profile = defaultSeccomp("x64", []);
  assert.deepEqual(parseSeccompProfile("/p.json", JSON.stringify(profile)), profile);
});

test("what would make a profile protect less than it says is refused, naming the place", () => {
  const wrong: [object, RegExp][] = [
    [{}, /defaultAction/],
    [{ defaultAction: "ALLOW" }, /defaultAction/],
    [{ defaultAction: "SCMP_ACT_NOTIFY" }, /defaultAction/],
    [{ defaultAction: "SCMP_ACT_ALLOW", archMap: [] }, /archMap/],
    [
      {
        defaultAction: "SCMP_ACT_ALLOW",
        syscalls: [{ names: ["chmod"], action: "SCMP_ACT_ERRNO", includes: { caps: ["X"] } }],
      },
      /syscalls\[0\]\.includes/,
    ],
    [
      { defaultAction: "SCMP_ACT_ALLOW", syscalls: [{ name: "chmod", action: "SCMP_ACT_ERRNO" }] },
      /syscalls\[0\]\.names/,
    ],
    [
      {
        defaultAction: "SCMP_ACT_ALLOW",
        syscalls: [{ names: ["x"], action: "SCMP_ACT_ERRNO", args: [{ index: 6, value: 0, op: "SCMP_CMP_EQ" }] }],
      },
      /args\[0\]\.index/,
    ],
  ];
  for (const [json, message] of wrong)
    assert.throws(() => parseSeccompProfile("/p.json", JSON.stringify(json)), { code: Code.InvalidArgument, message });
});

test("any text gives a profile or a StatusError", () => {
  const key = fc.constantFrom("defaultAction", "syscalls", "names", "action", "args", "archMap", "flags", "__proto__");
  const value = fc.oneof(
    fc.jsonValue(),
    fc.constant("SCMP_ACT_ALLOW"),
    fc.constant([{ names: [], action: "SCMP_ACT_ALLOW", args: [null] }]),
  );
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.dictionary(key, value).map((o) => JSON.stringify(o)),
      ),
      (text) => {
        try {
          parseSeccompProfile("/p.json", text);
        } catch (error) {
          assert.ok(error instanceof StatusError, String(error));
        }
      },
    ),
  );
  assert.throws(() => parseSeccompProfile("/p.json", " ".repeat(maxProfileBytes + 1)), { code: Code.InvalidArgument });
});
