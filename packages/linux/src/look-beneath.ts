import { Socket } from "node:net";
import { systemError } from "./errno.ts";
import { builtFile } from "./native.ts";
import { closeFd, createPipe } from "./pipe.ts";
import { type Child, spawn } from "./spawn.ts";

/** A file, or a link, as lstat(2) shows it. */
export interface SeenFile {
  /** With the bits of its kind, inode(7). */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  /** Of a device node; 0 of anything else. */
  readonly major: number;
  readonly minor: number;
  /** Where a symbolic link points; undefined for anything else. */
  readonly target: string | undefined;
}

/** A file by its path below a directory. No link is followed but those in `root`, which is meant if `path` is empty. */
export interface Beneath {
  readonly root: string;
  readonly path: string;
}

interface Answer {
  readonly errno: number;
  readonly text: string;
  readonly bytes: Buffer;
}

/** What one answer holds at most. */
const maxReadBytes = 65_536;

/**
 * Looks at files that somebody else may change meanwhile, and that may be on a file system whose server is gone: in a
 * process of its own (native/look-beneath.c), so that no thread of ours hangs. Once the signal aborts, or after the
 * process is lost, every question rejects. Disposing of it kills the process; one that a file system holds stays until
 * that answers, and `ended` says when.
 */
export class BeneathLooker implements Disposable {
  readonly #child: Child;
  readonly #questions: Socket;
  readonly #answers: Socket;
  readonly #waiting: PromiseWithResolvers<Answer>[] = [];
  #received = Buffer.alloc(0);
  #over: { readonly reason: unknown } | undefined;
  readonly #unsubscribe: () => void;

  /** Throws SystemError when the process cannot be started, and the signal's reason. */
  constructor(signal: AbortSignal) {
    signal.throwIfAborted();
    using theirs = new DisposableStack();
    using undo = new DisposableStack();
    const questions = createPipe();
    theirs.adopt(questions.readFd, closeFd);
    undo.adopt(questions.writeFd, closeFd);
    const answers = createPipe();
    theirs.adopt(answers.writeFd, closeFd);
    undo.adopt(answers.readFd, closeFd);
    this.#child = spawn({
      file: builtFile("look-beneath"),
      env: {},
      cwd: "/",
      newSession: true,
      fds: [questions.readFd, answers.writeFd, "null"],
    });
    undo.move();
    this.#questions = new Socket({ fd: questions.writeFd, readable: false, writable: true });
    this.#answers = new Socket({ fd: answers.readFd, readable: true, writable: false });
    for (const socket of [this.#questions, this.#answers]) socket.on("error", (error) => this.#end(error));
    this.#answers.on("data", (bytes: Buffer) => this.#receive(bytes));
    this.#answers.on("close", () => this.#end(new Error("the process that looks at files has ended")));
    const onAbort = () => this.#end(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    this.#unsubscribe = () => signal.removeEventListener("abort", onAbort);
  }

  get pid(): number {
    return this.#child.pid;
  }

  /** Settles when the process is gone; never rejects. */
  get ended(): Promise<unknown> {
    return this.#child.exited;
  }

  /** Throws SystemError: ENOENT, and ELOOP for a link before the end of the path. */
  async look(file: Beneath): Promise<SeenFile> {
    const { text } = await this.#ask(["look", file.root, file.path], file);
    const numbers = text.split(" ", 6).map(Number);
    const [mode, uid, gid, size, major, minor] = numbers as [number, number, number, number, number, number];
    const link = /^(?:\d+ ){6}/.exec(text);
    return { mode, uid, gid, size, major, minor, target: link === null ? undefined : text.slice(link[0].length) };
  }

  /** Up to 64 KiB of a regular file, fewer bytes at its end. Throws SystemError: EINVAL for another kind of file. */
  async read(file: Beneath, offset: number, length: number): Promise<Buffer> {
    const most = Math.min(length, maxReadBytes);
    return (await this.#ask(["read", file.root, file.path, String(offset), String(most)], file)).bytes;
  }

  /** The names in a directory. Throws SystemError: EOVERFLOW for more than 64 KiB of them. */
  async list(directory: Beneath): Promise<string[]> {
    const { bytes } = await this.#ask(["list", directory.root, directory.path], directory);
    return bytes.toString().split("\0").slice(0, -1);
  }

  [Symbol.dispose](): void {
    this.#end(new Error("the process that looks at files was stopped"));
  }

  async #ask(fields: readonly string[], { root, path }: Beneath): Promise<Answer> {
    if (fields.some((field) => field.includes("\0"))) throw new TypeError(`${JSON.stringify(path)} is not a path`);
    if (this.#over !== undefined) throw this.#over.reason;
    const answer = Promise.withResolvers<Answer>();
    this.#waiting.push(answer);
    this.#questions.write(fields.map((field) => `${field}\0`).join(""));
    const given = await answer.promise;
    if (given.errno !== 0) {
      const where = path === "" ? root : `${path} beneath ${root}`;
      throw systemError(`${fields[0]} ${where}`, given.errno, "openat2");
    }
    return given;
  }

  #receive(bytes: Buffer): void {
    this.#received = Buffer.concat([this.#received, bytes]);
    while (this.#received.length >= 4) {
      const end = 4 + this.#received.readUInt32LE(0);
      if (this.#received.length < end) return;
      const whole = this.#received.subarray(4, end);
      this.#received = this.#received.subarray(end);
      const nul = whole.indexOf(0);
      const head = whole.toString("utf8", 0, nul);
      const space = head.indexOf(" ");
      this.#waiting.shift()?.resolve({
        errno: Number(head.slice(0, space)),
        text: head.slice(space + 1),
        bytes: Buffer.from(whole.subarray(nul + 1)),
      });
    }
  }

  #end(reason: unknown): void {
    if (this.#over !== undefined) return;
    this.#over = { reason };
    this.#unsubscribe();
    this.#child.killGroup("SIGKILL");
    this.#questions.destroy();
    this.#answers.destroy();
    for (const answer of this.#waiting.splice(0)) answer.reject(reason);
  }
}
