/** What kind of file an entry makes. */
export type TarEntryKind = "file" | "hardlink" | "symlink" | "character device" | "block device" | "directory" | "fifo";

/**
 * One entry of a layer's tar. Names, link targets and the keys of xattrs are *binary strings*, one
 * character for each byte, since file names are bytes that need not be UTF-8.
 */
export interface TarEntry {
  kind: TarEntryKind;
  name: string;
  /** Target of a hard link or symlink, else "". */
  linkName: string;
  /** Permission bits with setuid, setgid and sticky. */
  mode: number;
  uid: number;
  gid: number;
  /** Bytes of content that follow; 0 for all but files. */
  sizeBytes: number;
  mtimeSec: number;
  /** 0 to 999,999,999, to be added to the seconds. */
  mtimeNsec: number;
  deviceMajor: number;
  deviceMinor: number;
  xattrs: Map<string, Buffer>;
}

/** Who takes what the reader finds: an entry, its content in pieces, its end. Errors thrown here end the reading. */
export interface TarSink {
  entry(entry: TarEntry): void;
  /** A piece of the entry's content; only valid during the call. */
  content(bytes: Buffer): void;
  entryEnd(): void;
}
