import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

/** What the addon exports: thin, positional, named after the modules that dress it up. See native/*.c. */
interface Native {
  mount(source: Path | null, target: Path, fstype: string | null, flags: number, data: Path | null): void;
  unmount(target: Path, flags: number, async: false): void;
  unmount(target: Path, flags: number, async: true): Promise<void>;
  bind(
    source: Path,
    target: Path,
    recursive: boolean,
    readonly: number,
    propagation: number,
    oldCalls: boolean,
    idmap: string | null,
    async: boolean,
  ): Promise<void> | undefined;
  overlay(
    target: string,
    lower: readonly string[],
    upper: string | null,
    work: string | null,
    options: readonly string[],
    readonly: boolean,
    method: number,
    async: boolean,
  ): Promise<void> | undefined;
  createNamespaces(
    net: string | null,
    ipc: string | null,
    uts: string | null,
    hostname: string | null,
    sysctls: readonly string[],
    loopbackUp: boolean,
    user: string | null,
    uidMap: string | null,
    gidMap: string | null,
    rootUid: number,
    async: boolean,
  ): Promise<void> | undefined;
  unpinNamespace(path: string, async: boolean): Promise<void> | undefined;
  spawn(
    file: string,
    argv: readonly string[],
    env: readonly string[],
    cwd: string | null,
    fds: Int32Array,
    newSession: boolean,
    cgroupProcs: readonly string[],
    oomScoreAdj: string | null,
    takesTerminal: boolean,
  ): { pid: number; pidfd: number };
  pidfdOpen(pid: number): number;
  pidfdSendSignal(pidfd: number, signal: number): boolean;
  waitPidfd(pidfd: number): { code: number; signal: number; cpuUserUs: number; cpuSystemUs: number } | null;
  watch(fd: number, keepAlive: boolean, callback: () => void): WatchHandle;
  unwatch(handle: WatchHandle): void;
  poll(fd: number, callback: (events: number) => void): PollHandle;
  pollEvents(handle: PollHandle, events: number): void;
  pollClose(handle: PollHandle): void;
  openPty(isRaw: boolean): { masterFd: number; slaveFd: number };
  resizePty(fd: number, rows: number, columns: number): void;
  connectSeqpacket(dir: string, name: string): number;
  socketPair(hasPackets: boolean): { a: number; b: number };
  receivePacket(fd: number, buffer: Uint8Array): number;
  sendPacket(fd: number, bytes: Uint8Array): boolean;
  shutdownWrite(fd: number): void;
  listenSocket(dirFd: number, name: string): number;
  acceptSocket(fd: number): number;
  receiveFd(fd: number): number;
  connectLoopback(netns: string | null, isIpv6: boolean, port: number): { fd: number; isConnected: boolean };
  socketError(fd: number): number;
  statfs(path: string): {
    type: bigint;
    blockSizeBytes: bigint;
    blocks: bigint;
    blocksFree: bigint;
    blocksAvailable: bigint;
    inodes: bigint;
    inodesFree: bigint;
  };
  flock(fd: number, operation: number): boolean;
  lsetxattr(path: Path, name: string, value: Uint8Array, flags: number): void;
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
  exchange(a: Path, b: Path): void;
  sync(path: string | null, fd: number, async: boolean): Promise<void> | undefined;
  tree(path: Path, remove: boolean, async: boolean): unknown;
  enterRoot(dir: string): void;
  leaveRoot(): void;
  readFiles(paths: readonly string[]): Promise<(string | null)[]>;
  readNetDev(pins: readonly string[]): Promise<(string | null)[]>;
  countProcesses(procsFiles: readonly string[]): Promise<number[]>;
  warmPool(timeoutMs: number): Promise<number>;
}

/** A path as text, or as bytes where it may be no UTF-8. */
export type Path = string | Uint8Array;

export interface WatchHandle {
  readonly watchHandle: unique symbol;
}

export interface PollHandle {
  readonly pollHandle: unique symbol;
}

/** Finds a file that build.mjs made: in the checkout, or beside the bundle that ships. */
export function builtFile(name: string): string {
  const places = ["../build/", "./"].map((place) => fileURLToPath(new URL(place + name, import.meta.url)));
  const found = places.find((place) => existsSync(place));
  if (found === undefined)
    throw new Error(`${name} is not built (looked at ${places.join(", ")}): run node packages/linux/build.mjs`);
  return found;
}

export const native = createRequire(import.meta.url)(builtFile("linux.node")) as Native;
