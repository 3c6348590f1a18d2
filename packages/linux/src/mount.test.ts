import assert from "node:assert/strict";
import { test } from "node:test";
import { mountsUnder, parseMountInfo } from "./mount.ts";

const sample = String.raw`22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 propagate_from:7 - ext3 /dev/root rw,errors=continue
40 27 0:40 / /with\040space\011tab\134back\012line rw unbindable - tmpfs a\040b rw
41 27 0:41 / /run/o rw shared:300 master:2 - overlay overlay rw,lowerdir=/a\054b:/c,upperdir=/u
42 41 0:4 net:[4026532000] /run/o/ns rw shared:3 - nsfs nsfs rw
43 27 0:43 / /run/other rw - tmpfs  rw
`;

test("a mount table is parsed with its propagation", () => {
  const mounts = parseMountInfo(Buffer.from(sample));
  assert.equal(mounts.length, 7);
  assert.deepEqual(
    mounts.map((m) => [m.shared, m.master, m.unbindable]),
    [
      [undefined, undefined, false],
      [1, undefined, false],
      [undefined, 1, false],
      [undefined, undefined, true],
      [300, 2, false],
      [3, undefined, false],
      [undefined, undefined, false],
    ],
  );
  assert.equal(mounts[2]?.root, "/mnt1");
  assert.deepEqual(mounts[2]?.options, ["rw", "noatime"]);
  assert.equal(mounts[4]?.superOptions, "rw,lowerdir=/a,b:/c,upperdir=/u");
  assert.equal(mounts[5]?.root, "net:[4026532000]");
  assert.equal(mounts[6]?.source, "");
});

test("escapes are undone", () => {
  const mount = parseMountInfo(Buffer.from(sample))[3];
  assert.equal(mount?.target, "/with space\ttab\\back\nline");
  assert.equal(mount?.source, "a b");
});

test("an escaped backslash does not start another escape", () => {
  assert.equal(
    parseMountInfo(Buffer.from(String.raw`1 1 0:1 / /x\134040y rw - tmpfs t rw`))[0]?.target,
    String.raw`/x\040y`,
  );
});

test("a target that is not UTF-8 keeps its bytes", () => {
  const line = Buffer.concat([Buffer.from("1 1 0:1 / /x"), Buffer.from([0xff, 0xc3]), Buffer.from(" rw - tmpfs t rw")]);
  assert.deepEqual(parseMountInfo(line)[0]?.targetBytes, Buffer.from([0x2f, 0x78, 0xff, 0xc3]));
});

test("a target named like the separator is not taken for it", () => {
  const [mount] = parseMountInfo(Buffer.from("1 1 0:1 - - rw - tmpfs t rw\n"));
  assert.equal(mount?.target, "-");
  assert.equal(mount?.fstype, "tmpfs");
});

test("no truncation of the file makes the parser throw or invent a mount", () => {
  const whole = Buffer.from(sample);
  const targets = new Set(parseMountInfo(whole).map((m) => m.target));
  for (let length = 0; length < whole.length; length++) {
    for (const mount of parseMountInfo(whole.subarray(0, length))) assert.ok(targets.has(mount.target));
  }
});

test("random bytes cause neither mounts nor exceptions", () => {
  let seed = 7;
  for (let round = 0; round < 500; round++) {
    const bytes = Buffer.from(sample);
    for (let flip = 0; flip < 5; flip++) {
      seed = (seed * 1103515245 + 12345) & 0x7fffffff;
      bytes[seed % bytes.length] = (seed >> 8) & 0xff;
    }
    for (const mount of parseMountInfo(bytes)) assert.ok(Number.isSafeInteger(mount.id));
  }
});

test("the mounts under a directory do not include its neighbours'", () => {
  const mounts = parseMountInfo(Buffer.from(sample));
  assert.deepEqual(
    mountsUnder("/run/o", mounts).map((m) => m.target),
    ["/run/o", "/run/o/ns"],
  );
});
