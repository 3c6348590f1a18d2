import { closeSync, constants, openSync } from "node:fs";
import { join } from "node:path";
import { podInitProgram } from "@keelson/linux/pod-init.ts";
import { signalProcess } from "@keelson/linux/process.ts";
import { processStartTicks, readCommandLine } from "@keelson/linux/procfs.ts";
import { spawn } from "@keelson/linux/spawn.ts";
import { processesIn } from "./leftover-processes.ts";

/** Its name distinguishes it from the shim, which runs in the same directory. */
const name = "keelson-streams";

/**
 * Starts a process that keeps FIFOs of a bundle open for reading as long as the container exists. A shim closes them at
 * the container's end, and when nobody has a FIFO open, the kernel discards its content: the last output of a container
 * that ends while the daemon is away. The process runs a program of 20 KiB that does nothing.
 */
export function holdStreams(bundleDir: string, fifos: readonly string[]): void {
  using fds = new DisposableStack();
  const open = fifos.map((fifo) =>
    fds.adopt(openSync(join(bundleDir, fifo), constants.O_RDONLY | constants.O_NONBLOCK), closeSync),
  );
  spawn({
    file: podInitProgram(),
    argv0: name,
    args: ["--hold"],
    cwd: bundleDir,
    env: {},
    newSession: true,
    fds: ["null", "null", "null", ...open],
  });
}

/** Ends that process; does nothing when there is none. */
export function letGoOfStreams(bundleDir: string): void {
  for (const { pid } of processesIn(bundleDir)) {
    const startTicks = processStartTicks(pid);
    if (startTicks !== null && isHolder(pid)) signalProcess(pid, startTicks, 9);
  }
}

function isHolder(pid: number): boolean {
  return readCommandLine(pid)[0] === name;
}
