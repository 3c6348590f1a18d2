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

/** Of the sandbox container's own user: it needs no rights to connect. */
const nobody = 65_535;

/**
 * Connects to a port on the loopback of a sandbox, by a program in its container that joins the port with a socket of
 * ours: `runsc port-forward` closes both directions when one ends, and before 2025 also when more comes than fits in a
 * socket's buffer. The fd is the caller's. Throws the SystemError of the connection (ECONNREFUSED when nobody listens),
 * the signal's reason when aborted.
 *
 * @param file for the duration of the start, a path that is not there yet.
 */
export async function connectInSandbox(
  runsc: RuntimeCommand,
  id: string,
  port: number,
  file: string,
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

/** Undefined when the socket's other end is closed before. */
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
