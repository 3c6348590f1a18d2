import { spawnSync } from "node:child_process";
import { closeSync, constants, existsSync, mkdirSync, openSync, readSync, writeSync } from "node:fs";

/** Requests of the kernel, as linux/fuse.h numbers them. All others are answered with ENOSYS. */
const opcode = { lookup: 1, forget: 2, getattr: 3, init: 26, interrupt: 36, batchForget: 42 } as const;
const errno = { ENOENT: 2, ENOSYS: 38 } as const;

const directoryMode = 0o40755;
const pollMs = 5;

/**
 * A file system with an empty directory, served by this process over FUSE, that can die as an NFS server does: it
 * accepts requests and never answers, so that callers are in uninterruptible sleep, which no signal ends. Closing the
 * device ends their wait with ECONNABORTED; the kernel does so too when this process ends, for whatever reason.
 */
export class DeadMount implements Disposable {
  readonly path: string;
  readonly #device: number;
  readonly #buffer = Buffer.alloc(1 << 18);
  readonly #timer: NodeJS.Timeout;
  #isAlive = true;
  #isClosed = false;

  private constructor(path: string, device: number) {
    this.path = path;
    this.#device = device;
    // mount(2) has sent INIT; until that is answered, other callers wait in a place where a signal does end it.
    this.#serve();
    this.#timer = setInterval(() => this.#serve(), pollMs);
  }

  /** Mounts it at `path`, which is created; undefined where there is no FUSE. */
  static open(path: string): DeadMount | undefined {
    if (!existsSync("/dev/fuse")) return undefined;
    mkdirSync(path, { recursive: true });
    let device: number;
    try {
      device = openSync("/dev/fuse", constants.O_RDWR | constants.O_NONBLOCK);
    } catch {
      return undefined; // denied by a container's device cgroup, or the module is missing
    }
    const options = `fd=3,rootmode=${directoryMode.toString(8)},user_id=0,group_id=0,allow_other`;
    // -i: without mount.fuse, which is part of libfuse.
    const { status } = spawnSync("mount", ["-i", "-t", "fuse", "-o", options, "keelson-dead-mount", path], {
      stdio: ["ignore", "ignore", "ignore", device],
    });
    if (status === 0) return new DeadMount(path, device);
    closeSync(device);
    return undefined;
  }

  /** From now on no request is answered. */
  die(): void {
    this.#isAlive = false;
  }

  /** All callers that wait get an error. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearInterval(this.#timer);
    closeSync(this.#device);
  }

  [Symbol.dispose](): void {
    this.close();
    spawnSync("umount", ["--lazy", this.path], { stdio: "ignore" });
  }

  /** Takes all requests. The header of one: length, opcode (u32), unique (u64), inode (u64) and the caller. */
  #serve(): void {
    while (this.#read() > 0) {
      if (!this.#isAlive) continue;
      const code = this.#buffer.readUInt32LE(4);
      const unique = this.#buffer.readBigUInt64LE(8);
      if (code === opcode.init) this.#answer(unique, initAnswer());
      else if (code === opcode.getattr) this.#answer(unique, directoryAttributes());
      else if (code === opcode.lookup) this.#answer(unique, Buffer.alloc(0), errno.ENOENT);
      else if (code !== opcode.forget && code !== opcode.batchForget && code !== opcode.interrupt)
        this.#answer(unique, Buffer.alloc(0), errno.ENOSYS);
    }
  }

  #read(): number {
    try {
      return readSync(this.#device, this.#buffer);
    } catch {
      return 0; // EAGAIN: there is no request; ENOENT: its caller has gone; ENODEV: unmounted
    }
  }

  /** The header of an answer: length (u32), a negative errno (i32), unique (u64). */
  #answer(unique: bigint, body: Buffer, error = 0): void {
    const header = Buffer.alloc(16);
    header.writeUInt32LE(header.length + body.length, 0);
    header.writeInt32LE(-error, 4);
    header.writeBigUInt64LE(unique, 8);
    try {
      writeSync(this.#device, Buffer.concat([header, body]));
    } catch {
      // ENOENT: the caller has been killed meanwhile.
    }
  }
}

/** struct fuse_init_out of version 7.31, without any feature. */
function initAnswer(): Buffer {
  const out = Buffer.alloc(64);
  out.writeUInt32LE(7, 0);
  out.writeUInt32LE(31, 4);
  out.writeUInt32LE(4096, 20); // max_write
  return out;
}

/** struct fuse_attr_out of the root; valid for no time, so that it is requested every time. */
function directoryAttributes(): Buffer {
  const out = Buffer.alloc(104);
  out.writeBigUInt64LE(1n, 16); // ino
  out.writeUInt32LE(directoryMode, 76);
  out.writeUInt32LE(2, 80); // nlink
  return out;
}
