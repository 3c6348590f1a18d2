import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Code, StatusError } from "@keelson/base/status.ts";
import {
  device,
  directory,
  fifo,
  file,
  hardLink,
  symlink,
  tar,
  type TarEntry as MadeEntry,
} from "@keelson/testkit/tar.ts";
import type { TarEntry, TarSink } from "./tar-entry.ts";
import { TarReader } from "./tar-reader.ts";

/** Collects what it receives. */
class Collector implements TarSink {
  readonly entries: (TarEntry & { content: string })[] = [];

  entry(entry: TarEntry): void {
    this.entries.push({ ...entry, content: "" });
  }

  content(bytes: Buffer): void {
    const last = this.entries.at(-1);
    if (last !== undefined) last.content += bytes.toString("latin1");
  }

  entryEnd(): void {}
}

function read(archive: Buffer, chunkBytes = archive.length): Collector["entries"] {
  const sink = new Collector();
  const reader = new TarReader(sink);
  for (let at = 0; at < archive.length; at += chunkBytes) reader.write(archive.subarray(at, at + chunkBytes));
  reader.end();
  return sink.entries;
}

function isStatus(code: Code, why: RegExp) {
  return (error: unknown) => error instanceof StatusError && error.code === code && why.test(error.message);
}

const binary = Buffer.from([1, 0, 0, 2, 0x0a, 0xff, 0x3d, 0]);
const made: MadeEntry[] = [
  directory("a/", { mode: 0o1777, uid: 5, gid: 6, mtimeSeconds: 1700000000 }),
  file("a/b", "hello", {
    mode: 0o4755,
    xattrs: { "security.capability": binary, "user.x": "y" },
    mtimeSeconds: 1700000000.25,
  }),
  file("empty", ""),
  file("block", Buffer.alloc(512, "x")),
  file("big", Buffer.alloc(70_000, "z")),
  symlink("link", "/etc/passwd"),
  hardLink("hard", "a/b"),
  device("null", "character-device", 1, 3),
  device("sda", "block-device", 8, 0),
  fifo("pipe"),
  file(`${"d/".repeat(120)}long`, "l"),
  symlink("longlink", "t".repeat(300)),
  file("uid", "", { uid: 3_000_000, gid: 4_000_000 }),
  file("ünï", "u"),
];
const archive = tar(made);

test("parses every kind of entry, the same from chunks of any size", () => {
  const entries = read(archive);
  assert.deepEqual(
    entries.map((e) => [e.kind, e.name.slice(0, 12), e.sizeBytes]),
    [
      ["directory", "a/", 0],
      ["file", "a/b", 5],
      ["file", "empty", 0],
      ["file", "block", 512],
      ["file", "big", 70_000],
      ["symlink", "link", 0],
      ["hardlink", "hard", 0],
      ["character device", "null", 0],
      ["block device", "sda", 0],
      ["fifo", "pipe", 0],
      ["file", "d/d/d/d/d/d/", 1],
      ["symlink", "longlink", 0],
      ["file", "uid", 0],
      ["file", Buffer.from("ünï").toString("latin1"), 1],
    ],
  );
  const [a, b] = entries as unknown as [TarEntry, TarEntry];
  assert.deepEqual([a.mode, a.uid, a.gid, a.mtimeSec], [0o1777, 5, 6, 1700000000]);
  assert.deepEqual(
    [b.mode, b.mtimeSec, b.mtimeNsec, b.xattrs.get("security.capability")],
    [0o4755, 1700000000, 250_000_000, binary],
  );
  assert.equal(entries[10]?.name, `${"d/".repeat(120)}long`);
  assert.equal(entries[11]?.linkName, "t".repeat(300));
  assert.deepEqual([entries[8]?.deviceMajor, entries[12]?.uid, entries[12]?.gid], [8, 3_000_000, 4_000_000]);
  for (const chunkBytes of [1, 7, 511, 512, 513, 4096])
    assert.deepEqual(read(archive, chunkBytes), entries, `chunks of ${chunkBytes}`);
});

test("parses what GNU tar writes in each of its formats", (t) => {
  const dir = mkdtempSync(join(tmpdir(), "keelson-tar-"));
  t.after(() => rmSync(dir, { recursive: true }));
  const long = "n".repeat(120);
  writeFileSync(join(dir, long), "content");
  symlinkSync("t".repeat(200), join(dir, "link"));
  for (const format of ["gnu", "pax", "oldgnu", "posix"]) {
    const entries = read(execFileSync("tar", ["-C", dir, `--format=${format}`, "--sort=name", "-c", "."]));
    assert.deepEqual(
      entries.map((e) => [e.name, e.linkName, e.content]),
      [
        ["./", "", ""],
        ["./link", "t".repeat(200), ""],
        [`./${long}`, "", "content"],
      ],
      format,
    );
  }
});

test("a global header applies to all entries without their own value, and base-256 numbers are parsed", () => {
  const global = header({ type: "g", size: 12 }, Buffer.from("12 uid=1234\n"));
  const entry = header({ name: "x", type: "0", size: 0 });
  assert.equal(read(Buffer.concat([global, entry, end]))[0]?.uid, 1234);
  const large = header({ name: "x", type: "0", size: 0, uidField: Buffer.from([0x80, 0, 0, 0, 0x01, 0, 0, 1]) });
  assert.equal(read(Buffer.concat([large, end]))[0]?.uid, 0x01000001);
});

test("what no valid archive contains is refused with the reason", () => {
  const pax = (records: string) =>
    Buffer.concat([
      header({ type: "x", size: records.length }, Buffer.from(records, "latin1")),
      header({ name: "x", type: "0", size: 0 }),
      end,
    ]);
  for (const [bytes, code, why] of [
    [pax("11 path=a\0b\n".replace("11", "12")), Code.InvalidArgument, /zero byte/],
    [pax("30 GNU.sparse.realsize=1234567\n".replace("30", "31")), Code.Unimplemented, /sparse/],
    [pax("13 size=-100\n"), Code.InvalidArgument, /negative/],
    [pax("999999999 path=a\n"), Code.InvalidArgument, /malformed/],
    [pax("8 path=a\n"), Code.InvalidArgument, /malformed/],
    [pax("13 mtime=abc\n"), Code.InvalidArgument, /not a time/],
    [pax("18 uid=4294967295\n"), Code.InvalidArgument, /owner/],
    [header({ type: "S", name: "s", size: 0 }), Code.Unimplemented, /sparse/],
    [header({ type: "Z", name: "z", size: 0 }), Code.InvalidArgument, /type/],
    [header({ type: "L", name: "l", size: 2 * 1024 * 1024 }), Code.InvalidArgument, /limit/],
    [header({ type: "x", name: "l", size: 8 * 1024 * 1024 * 1024 - 1 }), Code.InvalidArgument, /limit/],
    [Buffer.alloc(512, 1), Code.DataLoss, /checksum/],
    [Buffer.alloc(512, "0"), Code.DataLoss, /checksum/],
    [
      Buffer.concat([header({ type: "0", name: "huge", size: 8 ** 11 - 1 }), Buffer.alloc(1000)]),
      Code.DataLoss,
      /cut short/,
    ],
  ] as const) {
    assert.throws(() => read(bytes), isStatus(code, why), String(why));
  }
});

test("every truncated archive is refused or lacks only whole entries", () => {
  const all = read(archive).map((e) => e.name);
  for (let length = 0; length < archive.length; length += length < 12_000 ? 1 : 97) {
    try {
      const some = read(archive.subarray(0, length));
      assert.deepEqual(
        some.map((e) => e.name),
        all.slice(0, some.length),
      );
    } catch (error) {
      assert.ok(error instanceof StatusError, String(error));
    }
  }
});

test("seeded bit flips result in a StatusError or entries", () => {
  let seed = 4711;
  const next = (below: number) => (seed = (seed * 1103515245 + 12345) & 0x7fffffff) % below;
  const small = tar(made.filter((entry) => entry.path !== "big"));
  for (let round = 0; round < 3000; round += 1) {
    const damaged = Buffer.from(small);
    for (let flips = 1 + next(3); flips > 0; flips -= 1) {
      const at = next(damaged.length);
      damaged[at] = (damaged[at] as number) ^ (1 << next(8));
    }
    // Otherwise the checksum would hide errors after it.
    if (round % 2 === 0)
      for (let at = 0; at < damaged.length; at += 512)
        if (damaged.toString("latin1", at + 257, at + 262) === "ustar") sum(damaged, at);
    try {
      read(damaged, 1000);
    } catch (error) {
      assert.ok(error instanceof StatusError, String(error));
    }
  }
});

const end = Buffer.alloc(1024);

function header(
  fields: { name?: string; type: string; size: number; uidField?: Buffer },
  content: Uint8Array = new Uint8Array(0),
): Buffer {
  const block = Buffer.alloc(512);
  block.write(fields.name ?? "", 0, "latin1");
  block.write("0000644\0", 100, "latin1");
  if (fields.uidField === undefined) block.write("0000000\0", 108, "latin1");
  else fields.uidField.copy(block, 108);
  block.write("0000000\0", 116, "latin1");
  block.write(`${fields.size.toString(8).padStart(11, "0")}\0`, 124, "latin1");
  block.write("00000000000\0", 136, "latin1");
  block.write(fields.type, 156, "latin1");
  block.write("ustar\x0000", 257, "latin1");
  sum(block, 0);
  return Buffer.concat([block, content, Buffer.alloc((512 - (content.length % 512)) % 512)]);
}

function sum(block: Buffer, at: number): void {
  block.fill(0x20, at + 148, at + 156);
  let total = 0;
  for (let i = at; i < at + 512; i += 1) total += block[i] as number;
  block.write(`${total.toString(8).padStart(6, "0")}\0 `, at + 148, "latin1");
}
