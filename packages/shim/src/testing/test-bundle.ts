import { execFileSync } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  closeSync,
  constants,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readProcesses } from "@keelson/linux/procfs.ts";
import { run } from "@keelson/linux/run.ts";
import { type Bundle, type ShimProgram, startShim } from "../commands.ts";
import { connectShim, type ShimConnection } from "../connection.ts";
import { type ShimEvent, ShimEvents } from "../events.ts";

/** A directory with bundles, and what their shims need besides. */
export class TestShims implements AsyncDisposable {
  readonly dir = mkdtempSync(join(tmpdir(), "keelson-shim-"));
  readonly events: ShimEvent[] = [];
  readonly #events = new ShimEvents((event) => this.events.push(event));
  readonly #listener = createServer((socket) => this.#events.accept(socket));
  readonly #left = new AsyncDisposableStack();

  static async start(): Promise<TestShims> {
    const shims = new TestShims();
    shims.#listener.listen(join(shims.dir, "events"));
    await once(shims.#listener, "listening");
    return shims;
  }

  program(file: string): ShimProgram {
    const publishBinary = join(this.dir, "publish");
    writeFileSync(publishBinary, "#!/bin/sh\ncat >/dev/null\n");
    chmodSync(publishBinary, 0o755);
    return {
      file,
      namespace: "keelson-test",
      address: join(this.dir, "none"),
      eventsPath: join(this.dir, "events"),
      publishBinary,
      env: { PATH: process.env["PATH"] },
    };
  }

  /** A bundle of a container that runs a script with Debian's busybox. */
  bundle(id: string, script: string, annotations: Readonly<Record<string, string>> = {}): Bundle {
    const dir = join(this.dir, id);
    mkdirSync(join(dir, "rootfs/bin"), { recursive: true });
    // crun needs the last one.
    for (const name of ["proc", "dev"]) mkdirSync(join(dir, "rootfs", name));
    copyFileSync("/bin/busybox", join(dir, "rootfs/bin/busybox"));
    writeFileSync(join(dir, "config.json"), JSON.stringify(spec(script, annotations)));
    for (const name of ["log", "stdout", "stderr"]) execFileSync("mkfifo", [join(dir, name)]);
    // A shim ends when nobody reads its log.
    this.#left.adopt(openSync(join(dir, "log"), constants.O_RDWR | constants.O_NONBLOCK), closeSync);
    return { id, dir };
  }

  /** Starts the shim of a bundle and connects to it. */
  async startShim(
    program: ShimProgram,
    bundle: Bundle,
  ): Promise<{ shim: ShimConnection; pid: number; address: string }> {
    const signal = AbortSignal.timeout(30_000);
    const bootstrap = await startShim({ run, program, bundle }, undefined, { timeoutMs: 20_000, signal });
    const shim = this.#left.use(
      await connectShim(bootstrap, { namespace: program.namespace, patienceMs: 5000 }, signal),
    );
    const { shimPid } = await shim.task.call("Connect", { id: bundle.id }, { timeoutMs: 10_000, signal });
    return { shim, pid: shimPid, address: bootstrap.address };
  }

  /** Kills what a failed test has left running, which has the directory in its command line. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#left.disposeAsync();
    for (const { pid } of readProcesses()) {
      const commandLine = readFileSync(`/proc/${pid}/cmdline`, "utf8");
      if (commandLine.includes(`${this.dir}/`) && pid !== process.pid) process.kill(pid, "SIGKILL");
    }
    this.#listener.close();
    await this.#events.close(1000);
    rmSync(this.dir, { recursive: true });
  }
}

/** Reads a FIFO without waiting for a writer. */
export class FifoReader implements Disposable {
  readonly #fd: number;

  constructor(path: string) {
    this.#fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  }

  /** What it holds now. */
  read(): string {
    const bytes = Buffer.alloc(65536);
    try {
      return bytes.toString("utf8", 0, readSync(this.#fd, bytes));
    } catch {
      return "";
    }
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }
}

function spec(script: string, annotations: Readonly<Record<string, string>>): object {
  return {
    ociVersion: "1.0.2",
    annotations,
    process: { user: { uid: 0, gid: 0 }, args: ["/bin/busybox", "sh", "-c", script], env: ["PATH=/bin"], cwd: "/" },
    root: { path: "rootfs" },
    mounts: [{ destination: "/proc", type: "proc", source: "proc" }],
    linux: { namespaces: [{ type: "pid" }, { type: "mount" }, { type: "ipc" }, { type: "uts" }, { type: "network" }] },
  };
}
