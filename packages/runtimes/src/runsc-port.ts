import { rmSync } from "node:fs";
import { Code, StatusError } from "@keelson/base/status.ts";
import { systemError } from "@keelson/linux/errno.ts";
import { closeFd } from "@keelson/linux/pipe.ts";
import { Poll, pollReadable } from "@keelson/linux/poll.ts";
import { spawn } from "@keelson/linux/spawn.ts";
import { receiveNow, streamPair } from "@keelson/linux/stream-pair.ts";
import type { ProcessSpec } from "@keelson/oci/runtime-spec/spec.ts";
import type { RuntimeCommand } from "./runtime-command.ts";
import { writeJson } from "./write-json.ts";

/** The user that the program runs as, in the sandbox's container: it needs no privileges to connect. */
const nobody = 65_535;

/** Which port of which sandbox to connect to. */
interface SandboxPort {
  /** The sandbox's container. */
  readonly id: string;
  readonly port: number;
  /** A path for a file that exists as long as the program is being started; nothing may exist there yet. */
  readonly file: string;
}

/**
 * Connects to a port on the loopback of a sandbox, by a program in its container that copies between the port and a socket
 * of ours: `runsc port-forward` closes both directions when one ends, and before 2025 also when more data comes than fits
 * into a socket's buffer. The caller closes the fd. Throws the SystemError of the connection (ECONNREFUSED when nobody
 * listens), the signal's reason when aborted.
 */
export async function connectInSandbox(
  runsc: RuntimeCommand,
  { id, port, file }: SandboxPort,
  signal: AbortSignal,
): Promise<number> {
  const process: ProcessSpec = {
    args: ["/hold", "--connect", String(port)],
    cwd: "/",
    user: { uid: nobody, gid: nobody },
    env: [],
    noNewPrivileges: true,
  };
  writeJson(file, process);
  using undo = new DisposableStack();
  const { a: ours, b: theirs } = streamPair();
  undo.adopt(ours, closeFd);
  using files = new DisposableStack();
  files.defer(() => rmSync(file, { force: true }));
  const child = (() => {
    try {
      return spawn({
        file: runsc.path,
        args: [...runsc.globalArgs, "exec", "--process", file, id],
        env: { PATH: globalThis.process.env["PATH"] },
        fds: [theirs, "null", "null"],
        newSession: true,
      });
    } finally {
      closeFd(theirs);
    }
  })();
  undo.defer(() => child.kill("SIGKILL"));
  const errno = await firstByte(ours, signal);
  if (errno === undefined)
    throw new StatusError(
      Code.Unavailable,
      `its sandbox does not run the program that connects (exit code ${(await child.exited).code ?? "none"})`,
    );
  if (errno !== 0) throw systemError(`connect to port ${port}`, errno, "connect");
  undo.move();
  return ours;
}

/** undefined when the other end of the socket is closed before. */
async function firstByte(fd: number, signal: AbortSignal): Promise<number | undefined> {
  signal.throwIfAborted();
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const onAbort = () => reject(signal.reason as Error);
  signal.addEventListener("abort", onAbort, { once: true });
  {
    using poll = new Poll(fd, () => resolve());
    poll.want(pollReadable);
    await promise.finally(() => signal.removeEventListener("abort", onAbort));
  }
  const byte = Buffer.alloc(1);
  return receiveNow(fd, byte) === 1 ? byte[0] : undefined;
}
