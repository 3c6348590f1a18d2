/** What any tar entry may have: owner, mode and time. */
export interface TarAttributes {
  /** Permission bits, with setuid, setgid and sticky; 0644 for files, 0755 for directories, 0777 for links. */
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  /** Seconds since 1970, possibly with a fraction. */
  readonly mtimeSeconds?: number;
  /** Extended attributes, such as `security.capability`, with any bytes. */
  readonly xattrs?: Readonly<Record<string, string | Uint8Array>>;
}

/** One entry of a layer. Paths are written as given: a test may need `../x`, `/x` or a trailing slash. */
export type TarEntry = TarAttributes & { readonly path: string } & (
    | { readonly type: "file"; readonly data: Uint8Array }
    | { readonly type: "directory" | "fifo" }
    | { readonly type: "symlink" | "hardlink"; readonly target: string }
    | { readonly type: "character-device" | "block-device"; readonly major: number; readonly minor: number }
  );

export function file(path: string, data: string | Uint8Array, attributes: TarAttributes = {}): TarEntry {
  return { type: "file", path, data: typeof data === "string" ? Buffer.from(data) : data, ...attributes };
}

export function directory(path: string, attributes: TarAttributes = {}): TarEntry {
  return { type: "directory", path, ...attributes };
}

export function symlink(path: string, target: string, attributes: TarAttributes = {}): TarEntry {
  return { type: "symlink", path, target, ...attributes };
}

/** `target` is the path of an entry, not relative to this one. */
export function hardLink(path: string, target: string, attributes: TarAttributes = {}): TarEntry {
  return { type: "hardlink", path, target, ...attributes };
}

export function device(
  path: string,
  kind: "character-device" | "block-device",
  major: number,
  minor: number,
  attributes: TarAttributes = {},
): TarEntry {
  return { type: kind, path, major, minor, ...attributes };
}

export function fifo(path: string, attributes: TarAttributes = {}): TarEntry {
  return { type: "fifo", path, ...attributes };
}

/** The marker that removes `path` of the layers below (OCI image spec, layer.md, "Whiteouts"). */
export function whiteout(path: string): TarEntry {
  const slash = path.lastIndexOf("/") + 1;
  return file(`${path.slice(0, slash)}.wh.${path.slice(slash)}`, "", { mode: 0 });
}

/** The marker that hides what the layers below have in the directory `path` (layer.md, "Opaque Whiteout"). */
export function opaqueWhiteout(path: string): TarEntry {
  return file(`${path.replace(/\/$/, "")}/.wh..wh..opq`, "", { mode: 0 });
}

const typeFlags = {
  file: "0",
  hardlink: "1",
  symlink: "2",
  "character-device": "3",
  "block-device": "4",
  directory: "5",
  fifo: "6",
} as const;
const blockBytes = 512;

/**
 * A whole tar archive: ustar, with PAX records (pax(1)) for what ustar cannot express, and two zero blocks at its end.
 */
export function tar(entries: Iterable<TarEntry>): Buffer {
  const parts: Uint8Array[] = [];
  for (const entry of entries) {
    const records = paxRecords(entry);
    if (records.length > 0) {
      parts.push(header({ path: "PaxHeaders/entry", mode: 0o644 }, "x", records.length), ...padded(records));
    }
    const data = entry.type === "file" ? entry.data : Buffer.alloc(0);
    parts.push(header(entry, typeFlags[entry.type], data.length), ...padded(data));
  }
  parts.push(Buffer.alloc(2 * blockBytes));
  return Buffer.concat(parts);
}

function padded(data: Uint8Array): Uint8Array[] {
  return [data, Buffer.alloc((blockBytes - (data.length % blockBytes)) % blockBytes)];
}

function header(
  entry: TarAttributes & { path: string; target?: string; major?: number; minor?: number },
  flag: string,
  size: number,
): Buffer {
  const block = Buffer.alloc(blockBytes);
  const octal = (value: number, offset: number, width: number): void => {
    // What does not fit is in the PAX records.
    const digits = Math.max(0, Math.trunc(value)).toString(8);
    block.write(digits.length < width ? digits.padStart(width - 1, "0") : "0".repeat(width - 1), offset, "latin1");
  };
  Buffer.from(entry.path).copy(block, 0, 0, 100);
  octal(entry.mode ?? (flag === "5" ? 0o755 : flag === "2" ? 0o777 : 0o644), 100, 8);
  octal(entry.uid ?? 0, 108, 8);
  octal(entry.gid ?? 0, 116, 8);
  octal(size, 124, 12);
  octal(entry.mtimeSeconds ?? 0, 136, 12);
  block.write(flag, 156);
  Buffer.from(entry.target ?? "").copy(block, 157, 0, 100);
  block.write("ustar\x0000", 257, "latin1");
  octal(entry.major ?? 0, 329, 8);
  octal(entry.minor ?? 0, 337, 8);
  block.fill(" ", 148, 156);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return block;
}

function paxRecords(entry: TarEntry): Buffer {
  const records: Buffer[] = [];
  const add = (key: string, value: string | Uint8Array): void => {
    const body = Buffer.concat([Buffer.from(` ${key}=`), Buffer.from(value as string), Buffer.from("\n")]);
    // The length at the front counts its own digits too.
    let length = body.length + 1;
    while (String(length).length + body.length !== length) length = String(length).length + body.length;
    records.push(Buffer.from(String(length)), body);
  };
  const tooLong = (text: string): boolean => Buffer.byteLength(text) > 100 || /[^\0-\x7f]/.test(text);
  if (tooLong(entry.path)) add("path", entry.path);
  if ("target" in entry && tooLong(entry.target)) add("linkpath", entry.target);
  const { uid = 0, gid = 0, mtimeSeconds = 0, xattrs = {} } = entry;
  if (uid >= 0o10_000_000) add("uid", String(uid));
  if (gid >= 0o10_000_000) add("gid", String(gid));
  if (!Number.isInteger(mtimeSeconds) || mtimeSeconds < 0 || mtimeSeconds >= 8 ** 11)
    add("mtime", String(mtimeSeconds));
  for (const [name, value] of Object.entries(xattrs)) add(`SCHILY.xattr.${name}`, value);
  return Buffer.concat(records);
}
