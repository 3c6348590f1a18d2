/** The kind of file that an entry is for. */
export type TarEntryKind = "file" | "hardlink" | "symlink" | "character device" | "block device" | "directory" | "fifo";

/**
 * An entry of a layer's tar. Names, link targets and the keys of xattrs are *binary strings*, one character for each
 * byte, since file names are bytes that need not be UTF-8.
 */
export interface TarEntry {
  kind: TarEntryKind;
  name: string;
  /** The target of a hard link or symlink, else "". */
  linkName: string;
  /** Permission bits with setuid, setgid and sticky. */
  mode: number;
  uid: number;
  gid: number;
  /** The size of the content that follows; 0 except for files. */
  sizeBytes: number;
  mtimeSec: number;
  /** 0 to 999,999,999; added to the seconds. */
  mtimeNsec: number;
  deviceMajor: number;
  deviceMinor: number;
  xattrs: Map<string, Buffer>;
}

/** Receives what the reader finds: an entry, its content in pieces, its end. Errors thrown here end the reading. */
export interface TarSink {
  entry(entry: TarEntry): void;
  /** A piece of the entry's content; only valid during the call. */
  content(bytes: Buffer): void;
  entryEnd(): void;
}

/** A name from an archive, made short and printable for a message. */
export function quoteName(name: string): string {
  return JSON.stringify(Buffer.from(name.length > 200 ? `${name.slice(0, 200)}...` : name, "latin1").toString("utf8"));
}
