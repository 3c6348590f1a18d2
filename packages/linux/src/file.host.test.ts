import assert from "node:assert/strict";
import {
  closeSync,
  constants,
  lstatSync,
  mkdtempSync,
  openSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { flock, lgetxattr, llistxattr, lremovexattr, lsetxattr, mknod, statfs, syncfs, utimensat } from "./file.ts";
import { makeFifo } from "./pipe.ts";

const base = mkdtempSync(join(tmpdir(), "file-"));
after(() => rmSync(base, { recursive: true }));
const file = join(base, "file");
const link = join(base, "link");
writeFileSync(file, "x");
symlinkSync("file", link);

test("xattrs hold any bytes, and a symlink has its own", () => {
  const value = Buffer.from([0, 1, 0xff, 0, 10]);
  lsetxattr(file, "user.test", value);
  lsetxattr(file, "user.empty", Buffer.alloc(0));
  assert.deepEqual(lgetxattr(file, "user.test"), value);
  assert.deepEqual(lgetxattr(file, "user.empty"), Buffer.alloc(0));
  assert.equal(lgetxattr(file, "user.none"), null);
  assert.deepEqual(
    llistxattr(file)
      .filter((name) => name.startsWith("user."))
      .sort(),
    ["user.empty", "user.test"],
  );
  lremovexattr(file, "user.test");
  assert.throws(() => lremovexattr(file, "user.test"), { code: "ENODATA", path: file });
  lsetxattr(link, "trusted.of.link", Buffer.from("l"));
  assert.deepEqual(llistxattr(link), ["trusted.of.link"]);
  assert.equal(lgetxattr(file, "trusted.of.link"), null);
  assert.throws(() => lgetxattr(join(base, "none"), "user.x"), { code: "ENOENT" });
});

test("devices and FIFOs are created with the given mode", () => {
  const device = join(base, "device");
  mknod(device, constants.S_IFCHR | 0o600, 259, 70000);
  const stat = statSync(device);
  assert.ok(stat.isCharacterDevice());
  assert.equal(stat.rdev, Number(BigInt(70000 & 0xff) | (259n << 8n) | (BigInt(70000 & ~0xff) << 12n)));
  mknod(join(base, "whiteout"), constants.S_IFCHR, 0, 0);
  makeFifo(join(base, "fifo"), 0o622);
  assert.equal(statSync(join(base, "fifo")).mode & 0o777, 0o622);
  assert.throws(() => makeFifo(join(base, "fifo"), 0o600), { code: "EEXIST" });
});

test("times are set to the nanosecond, before 1970 too, and on links themselves", () => {
  for (const ns of [0n, 1n, 1700000000123456789n, -1n, -1500000001n]) {
    utimensat(link, ns, ns + 2n, true);
    const stat = lstatSync(link, { bigint: true });
    assert.equal(stat.mtimeNs, ns + 2n);
  }
  utimensat(link, 5n, 6n, false);
  assert.equal(statSync(file, { bigint: true }).mtimeNs, 6n);
  assert.throws(() => utimensat(file, 1n << 64n, 0n, true), TypeError);
});

test("locks exclude", () => {
  const a = openSync(file, "r");
  const b = openSync(file, "r");
  assert.equal(flock(a), true);
  assert.equal(flock(b), false);
  closeSync(a);
  assert.equal(flock(b), true);
  closeSync(b);
  assert.throws(() => flock(999999), { code: "EBADF" });
});

test("statfs and syncfs", async () => {
  const stat = statfs("/proc");
  assert.equal(stat.type, 0x9fa0n);
  assert.ok(statfs(base).blocks > 0n);
  const fd = openSync(file, "r");
  await syncfs(fd);
  closeSync(fd);
  await assert.rejects(syncfs(fd), { code: "EBADF", syscall: "syncfs" });
});
