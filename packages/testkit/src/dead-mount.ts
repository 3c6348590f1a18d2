import { spawnSync } from "node:child_process";
import { closeSync, constants, existsSync, mkdirSync, openSync, readSync, writeSync } from "node:fs";

/** Requests of the kernel, as linux/fuse.h numbers them; to all others the answer is ENOSYS. */
const opcode = { lookup: 1, forget: 2, getattr: 3, init: 26, interrupt: 36, batchForget: 42 } as const;
const errno = { ENOENT: 2, ENOSYS: 38 } as const;

const directoryMode = 0o40755;
const pollMs = 5;

/**
 * A file system with an empty directory, made with FUSE and served by this process, that can die as an NFS server does:
 * it takes requests and never answers, so whoever asks is in uninterruptible sleep, where no signal ends it. Closing the
 * device ends the wait with ECONNABORTED; the kernel does that too when this process ends, however it ends.
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
    // mount(2) has asked for INIT; before its answer others wait where a signal does end it.
    this.#serve();
    this.#timer = setInterval(() => this.#serve(), pollMs);
  }

  /** Mounts it at `path`, which is made; undefined where there is no FUSE. */
  static open(path: string): DeadMount | undefined {
    if (!existsSync("/dev/fuse")) return undefined;
    mkdirSync(path, { recursive: true });
    let device: number;
    try {
      device = openSync("/dev/fuse", constants.O_RDWR | constants.O_NONBLOCK);
    } catch {
      return undefined; // a container's, which its device cgroup denies, or without the module
    }
    const options = `fd=3,rootmode=${directoryMode.toString(8)},user_id=0,group_id=0,allow_other`;
    // -i: without mount.fuse, which libfuse brings.
    const { status } = spawnSync("mount", ["-i", "-t", "fuse", "-o", options, "keelson-dead-mount", path], {
      stdio: ["ignore", "ignore", "ignore", device],
    });
    if (status === 0) return new DeadMount(path, device);
    closeSync(device);
    return undefined;
  }

  /** From now on nobody gets an answer. */
  die(): void {
    this.#isAlive = false;
  }

  /** Everyone who waits gets an error. */
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

  /** Takes what is asked. The header of a request: length, opcode (u32), unique (u64), inode (u64) and who asks. */
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
      return 0; // EAGAIN: nothing is asked; ENOENT: who asked has gone; ENODEV: unmounted
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
      // ENOENT: who asked has been killed meanwhile.
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

/** struct fuse_attr_out of the root; valid for no time, so that it is asked for each time. */
function directoryAttributes(): Buffer {
  const out = Buffer.alloc(104);
  out.writeBigUInt64LE(1n, 16); // ino
  out.writeUInt32LE(directoryMode, 76);
  out.writeUInt32LE(2, 80); // nlink
  return out;
}
