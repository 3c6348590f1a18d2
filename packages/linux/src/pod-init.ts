import { readSync } from "node:fs";
import { systemError } from "./errno.ts";
import { builtFile } from "./native.ts";
import { closeFd, createPipe } from "./pipe.ts";
import { SealedProgram } from "./sealed-program.ts";

export interface PodInitOptions {
  /** ps shows it. */
  podId: string;
  /** Paths of namespaces to join. */
  netns?: string;
  ipcns?: string;
  utsns?: string;
  /** The user namespace that owns the PID namespace. */
  userns?: string;
  /** The uid and gid that it runs with, in the user namespace if there is one. Default: 65535. */
  nobody?: number;
  /** cgroup directories to enter, one in each hierarchy. */
  cgroups?: readonly string[];
  /** Without CAP_SYS_RESOURCE it cannot be lower than the daemon's own, and then stays at that. */
  oomScoreAdj?: number;
  /** Where to pin the PID namespace: a path that does not exist yet. */
  pin?: string;
}

/**
 * The path of the program, which is static and needs no other file. It is also what runs in a container that is a pod's
 * sandbox (`PROGRAM --hold`). In there `PROGRAM --connect PORT` connects its stdin, a stream socket, to a port of the
 * sandbox's loopback; the first byte that it writes is 0, or the errno of the failure.
 */
export function podInitProgram(): string {
  return builtFile("pod-init");
}

/**
 * What runs among a pod's containers is this copy: they reach the inode of what they can trace, and if it were the file
 * on disk, they could change what the next pod's init is.
 */
const sealed = new SealedProgram("pod-init");

export interface PodInit {
  pid: number;
  startTicks: number;
  /** The one that it really has. */
  oomScoreAdj: number;
}

/**
 * Starts the init of a pod whose containers share a PID namespace (native/pod-init.c). It is a child of the host's init
 * and outlives the daemon; watchProcess watches it. SIGTERM ends it, and with it everything in its namespace. Throws
 * SystemError with `stage`, leaving nothing behind.
 */
export async function startPodInit(options: PodInitOptions): Promise<PodInit> {
  const env: Record<string, string | undefined> = {
    KEELSON_NETNS: options.netns,
    KEELSON_IPCNS: options.ipcns,
    KEELSON_UTSNS: options.utsns,
    KEELSON_USERNS: options.userns,
    KEELSON_NOBODY: options.nobody === undefined ? undefined : String(options.nobody),
    KEELSON_PIN: options.pin,
    KEELSON_OOM_SCORE_ADJ: options.oomScoreAdj === undefined ? undefined : String(options.oomScoreAdj),
  };
  options.cgroups?.forEach((dir, index) => (env[`KEELSON_CGROUP_${index}`] = `${dir}/cgroup.procs`));

  const { readFd, writeFd } = createPipe();
  try {
    const child = (() => {
      try {
        return sealed.spawn({
          argv0: "keelson-pod-init",
          args: [options.podId],
          env,
          fds: ["null", "null", "null", writeFd],
          newSession: true,
        });
      } finally {
        closeFd(writeFd);
      }
    })();
    const { code, signal } = await child.exited;
    // It wrote its line before it ended, and no other process has the pipe.
    const buffer = Buffer.alloc(256);
    const report = buffer.toString("utf8", 0, readSync(readFd, buffer)).trim();
    const ok = /^ok (\d+) (\d+) (-?\d+)$/.exec(report);
    if (ok !== null) return { pid: Number(ok[1]), startTicks: Number(ok[2]), oomScoreAdj: Number(ok[3]) };
    const error = /^error (.+) (\d+)$/.exec(report);
    if (error !== null) throw systemError(`start pod init: ${error[1]}`, Number(error[2]), "pod-init", error[1]);
    throw systemError(
      `start pod init: it ended without a report (code ${code}, signal ${signal})`,
      5,
      "pod-init",
      "start",
    );
  } finally {
    closeFd(readFd);
  }
}
