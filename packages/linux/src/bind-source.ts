import { systemError } from "./errno.ts";
import { bindCall, type BindOptions } from "./mount.ts";
import { builtFile } from "./native.ts";
import { run } from "./run.ts";

/**
 * As bindMount, for a source on a file system whose server may be gone. A process of its own mounts it
 * (native/bind-source.c), so that no thread of ours hangs: then this waits until the signal aborts, and rejects with its
 * reason. That process is killed, and mounts nothing any more. To be called on the main thread, without `oldCalls`.
 *
 * Throws SystemError, with nothing mounted.
 */
export async function bindSource(
  source: string,
  target: string,
  options: Omit<BindOptions, "oldCalls">,
  signal: AbortSignal,
): Promise<void> {
  const call = bindCall(source, target, options);
  const numbers = [Number(call.isRecursive), call.readonly, call.propagation].map(String);
  const args = [String(process.pid), source, target, ...numbers, call.idmap ?? ""];
  const ended = await run({ file: builtFile("bind-source"), args, env: {}, cwd: "/", stdoutLimitBytes: 4096 }, signal);
  if (ended.code === 0) return;
  const [, errno, syscall, stage, step] = /^(\d+) (\w+) (\S+) (.*)$/.exec(ended.stdout.toString()) ?? [];
  const what = `bind ${source} on ${target}`;
  if (errno === undefined)
    throw systemError(
      `${what}: the process ended without an answer (code ${ended.code}, signal ${ended.signal})`,
      5,
      "run",
    );
  throw systemError(
    step === "" ? what : `${what}: ${step}`,
    Number(errno),
    syscall!,
    stage === "-" ? undefined : stage,
  );
}
