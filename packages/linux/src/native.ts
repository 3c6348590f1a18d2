import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

/**
 * What the addon exports: thin, and named after the modules that wrap it (native/*.c). Calls of many arguments take an
 * object, of which every property must be there. An operation blocks its thread; the same with `Async` runs on libuv's
 * pool.
 */
interface Native {
  mount(call: MountCall): void;
  unmount(target: Path, flags: number): void;
  unmountAsync(target: Path, flags: number): Promise<void>;
  bind(call: BindCall): void;
  overlay(call: OverlayCall): void;
  overlayAsync(call: OverlayCall): Promise<void>;
  createNamespaces(call: NamespacesCall): void;
  createNamespacesAsync(call: NamespacesCall): Promise<void>;
  setSysctlsAsync(call: SysctlsCall): Promise<void>;
  unpinNamespace(path: string): void;
  unpinNamespaceAsync(path: string): Promise<void>;
  spawn(call: SpawnCall): { pid: number; pidfd: number };
  pidfdOpen(pid: number): number;
  pidfdSendSignal(pidfd: number, signal: number): boolean;
  waitPidfd(pidfd: number): { code: number; signal: number; cpuUserUs: number; cpuSystemUs: number } | null;
  poll(fd: number, callback: (events: number) => void): PollHandle;
  pollEvents(handle: PollHandle, events: number): void;
  pollUnref(handle: PollHandle): void;
  pollClose(handle: PollHandle): void;
  openPty(isRaw: boolean): { masterFd: number; slaveFd: number };
  resizePty(fd: number, rows: number, columns: number): void;
  connectSeqpacket(dir: string, name: string): number;
  streamPair(): { a: number; b: number };
  seqpacketPair(): { a: number; b: number };
  receivePacket(fd: number, buffer: Uint8Array): number;
  sendPacket(fd: number, bytes: Uint8Array): boolean;
  shutdownWrite(fd: number): void;
  listenSocket(dirFd: number, name: string): number;
  acceptSocket(fd: number): number;
  receiveFd(fd: number): number;
  connectAddress(netns: string | null, address: string, port: number): { fd: number; isConnected: boolean };
  socketError(fd: number): number;
  sealedFile(name: string, bytes: Uint8Array, isMemfd: boolean): number;
  denyDevices(dir: string): void;
  statfs(path: string): {
    type: bigint;
    blockSizeBytes: bigint;
    blocks: bigint;
    blocksFree: bigint;
    blocksAvailable: bigint;
    inodes: bigint;
    inodesFree: bigint;
  };
  flock(fd: number): boolean;
  lsetxattr(path: Path, name: string, value: Uint8Array): void;
  lremovexattr(path: Path, name: string): void;
  lgetxattr(path: Path, name: string): Buffer | null;
  llistxattr(path: Path): Buffer;
  mknod(path: Path, mode: number, major: number, minor: number): void;
  utimensat(path: Path, atimeNs: bigint, mtimeNs: bigint, nofollow: boolean): void;
  pipe(sizeBytes: number): { readFd: number; writeFd: number };
  duplicate(fd: number): number;
  close(fd: number): void;
  mkfifo(path: Path, mode: number): void;
  spliceToFile(pipe: number, file: number, offset: number, maxBytes: number): number;
  syncfs(fd: number): Promise<void>;
  removeTree(path: Path): void;
  removeTreeAsync(path: Path): Promise<void>;
  diskUsage(path: Path): { bytes: number; inodes: number };
  diskUsageAsync(path: Path): Promise<{ bytes: number; inodes: number }>;
  enterRoot(dir: string): void;
  leaveRoot(): void;
  readFiles(paths: readonly string[]): Promise<(string | null)[]>;
  readNetDev(pins: readonly string[]): Promise<(string | null)[]>;
  countProcesses(procsFiles: readonly string[]): Promise<number[]>;
  findPlaces(root: string, paths: readonly string[]): Promise<(Place | number)[]>;
  warmPool(timeoutMs: number): Promise<number>;
}

interface MountCall {
  source: Path | null;
  target: Path;
  fstype: string | null;
  flags: number;
  data: Path | null;
}

interface BindCall {
  source: Path;
  target: Path;
  isRecursive: boolean;
  /** 0 writable, 1 read-only, 2 with all mounts below. */
  readonly: number;
  /** MS_*, or 0 to leave it. */
  propagation: number;
  usesOldCalls: boolean;
  idmap: string | null;
}

interface OverlayCall {
  target: string;
  lowerDirs: readonly string[];
  upperDir: string | null;
  workDir: string | null;
  options: readonly string[];
  isReadonly: boolean;
  /** 0 what the kernel has, 1 fsconfig(2), 2 mount(2), 3 mount(2) with layers by fd. */
  method: number;
}

interface NamespacesCall {
  net: string | null;
  ipc: string | null;
  uts: string | null;
  hostname: string | null;
  /** Path, value, path, value … */
  sysctls: readonly string[];
  isLoopbackUp: boolean;
  user: string | null;
  uidMap: string | null;
  gidMap: string | null;
  /** What the user namespace's root is on the host; -1 for none. */
  rootUid: number;
}

interface SysctlsCall {
  /** The pin of a network namespace. */
  net: string;
  /** Path, value, path, value … */
  sysctls: readonly string[];
}

interface SpawnCall {
  file: string;
  argv: readonly string[];
  env: readonly string[];
  cwd: string | null;
  fds: Int32Array;
  newSession: boolean;
  cgroupProcs: readonly string[];
  oomScoreAdj: string | null;
  takesTerminal: boolean;
}

/** Where a path leads in a root. */
export interface Place {
  /** In the root, and without links. */
  readonly path: string;
  readonly isDirectory: boolean;
  /** Whether the path leads nowhere, and this is the nearest above it that exists. */
  readonly isAbove: boolean;
}

/** A path as text, or as bytes where it may not be UTF-8. */
export type Path = string | Uint8Array;

export interface PollHandle {
  readonly pollHandle: unique symbol;
}

/** The path of a file that build.mjs built: in the checkout, or beside the bundle that ships. Throws Error. */
export function builtFile(name: string): string {
  const places = ["../build/", "./"].map((place) => fileURLToPath(new URL(place + name, import.meta.url)));
  const found = places.find((place) => existsSync(place));
  if (found === undefined)
    throw new Error(`${name} is not built (looked at ${places.join(", ")}): run node packages/linux/build.mjs`);
  return found;
}

export const native = createRequire(import.meta.url)(builtFile("linux.node")) as Native;
