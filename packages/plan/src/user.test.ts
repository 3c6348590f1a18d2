import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, StatusError } from "@keelson/base/status.ts";
import { LinuxContainerSecurityContext } from "@keelson/cri/gen/runtime/v1/api.ts";
import * as fc from "fast-check";
import { maxUserFileBytes, planUser, resolveUser } from "./user.ts";

const passwd =
  "root:x:0:0:root:/root:/bin/sh\n# comment\nalice:x:1000:1001::/home/alice:/bin/sh\nbroken:x:abc:0\nhuge:x:99999999999:0\nalice:x:7:7\n";
const group = "root:x:0:\nalice:x:1001:\nwheel:x:10:bob, alice\nstaff:x:50:\nbad:x:-1:alice\n";

const security = (fields: Parameters<typeof LinuxContainerSecurityContext.fromPartial>[0]) =>
  LinuxContainerSecurityContext.fromPartial(fields);

function resolve(
  imageUser: string,
  fields: Parameters<typeof LinuxContainerSecurityContext.fromPartial>[0] = {},
): object {
  return resolveUser(planUser(security(fields), imageUser), passwd, group);
}

test("the image's USER is understood in its four forms, and may be missing", () => {
  assert.deepEqual(resolve("alice"), { uid: 1000, gid: 1001, additionalGids: [10, 1001] });
  assert.deepEqual(resolve("1000"), { uid: 1000, gid: 1001, additionalGids: [10, 1001] });
  assert.deepEqual(resolve("alice:staff"), { uid: 1000, gid: 50, additionalGids: [10, 50] });
  assert.deepEqual(resolve("5:6"), { uid: 5, gid: 6, additionalGids: [6] });
  assert.deepEqual(resolve(""), { uid: 0, gid: 0, additionalGids: [0] });
});

test("the security context wins over the image", () => {
  assert.deepEqual(resolve("alice:staff", { runAsUser: { value: 2000n } }), { uid: 2000, gid: 0, additionalGids: [0] });
  assert.deepEqual(resolve("", { runAsUsername: "alice", runAsGroup: { value: 3000n } }), {
    uid: 1000,
    gid: 3000,
    additionalGids: [10, 3000],
  });
});

test("Merge adds the image's groups, Strict does not", () => {
  const fields = { runAsUser: { value: 1000n }, supplementalGroups: [1234n] };
  assert.deepEqual(resolve("", fields), { uid: 1000, gid: 1001, additionalGids: [10, 1001, 1234] });
  assert.deepEqual(resolve("", { ...fields, supplementalGroupsPolicy: 1 }), {
    uid: 1000,
    gid: 1001,
    additionalGids: [1001, 1234],
  });
});

test("an image without the files works with ids only", () => {
  assert.deepEqual(resolveUser(planUser(undefined, "5"), undefined, undefined), {
    uid: 5,
    gid: 0,
    additionalGids: [0],
  });
  assert.throws(() => resolveUser(planUser(undefined, "alice"), undefined, undefined), {
    code: Code.InvalidArgument,
    message: /alice.*no \/etc\/passwd/,
  });
  assert.throws(() => resolve("1:nogroup"), {
    code: Code.InvalidArgument,
    message: /nogroup.*not in the image's \/etc\/group/,
  });
});

test("impossible requests are refused, naming the field", () => {
  assert.throws(() => planUser(security({ runAsGroup: { value: 1n } }), "alice"), {
    code: Code.InvalidArgument,
    message: /run_as_group needs/,
  });
  assert.throws(() => planUser(security({ runAsUser: { value: 1n }, runAsUsername: "x" }), ""), {
    code: Code.InvalidArgument,
  });
  for (const value of [-1n, 2n ** 31n, 2n ** 63n - 1n])
    assert.throws(() => planUser(security({ runAsUser: { value } }), ""), {
      code: Code.InvalidArgument,
      message: /run_as_user/,
    });
  assert.throws(() => planUser(security({ supplementalGroups: [-5n] }), ""), {
    code: Code.InvalidArgument,
    message: /supplemental_groups\[0\]/,
  });
  for (const user of ["a:b:c", "-1", "99999999999", "a\nb"])
    assert.throws(() => planUser(undefined, user), { code: Code.InvalidArgument });
});

test("files that are too large are refused, hostile lines skipped", () => {
  assert.throws(() => resolveUser(planUser(undefined, "alice"), "x".repeat(maxUserFileBytes + 1), group), {
    code: Code.InvalidArgument,
  });
  assert.throws(() => resolve("broken"), { code: Code.InvalidArgument });
  assert.throws(() => resolve("huge"), { code: Code.InvalidArgument });
});

test("any USER and any files give ids or a StatusError", () => {
  const line = fc
    .array(fc.oneof(fc.constantFrom("alice", "x", "1000", "", "4294967296", ","), fc.string()), { maxLength: 6 })
    .map((parts) => parts.join(":"));
  const text = fc.array(line, { maxLength: 8 }).map((lines) => lines.join("\n"));
  fc.assert(
    fc.property(
      fc.oneof(fc.string(), fc.constantFrom("alice", "1000", "alice:x", "1:alice")),
      text,
      text,
      (user, passwd, group) => {
        try {
          const { uid, gid, additionalGids } = resolveUser(planUser(undefined, user), passwd, group);
          assert.ok([uid, gid, ...additionalGids].every((id) => Number.isInteger(id) && id >= 0 && id <= 2147483647));
        } catch (error) {
          assert.ok(error instanceof StatusError, String(error));
        }
      },
    ),
  );
});
