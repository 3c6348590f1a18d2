import { readSync } from "node:fs";
import { systemError } from "./errno.ts";
import { builtFile } from "./native.ts";
import { closeFd, createPipe } from "./pipe.ts";
import { spawn } from "./spawn.ts";

export interface PodInitOptions {
  /** Shown by ps. */
  podId: string;
  /** Paths of namespaces to join. */
  netns?: string;
  ipcns?: string;
  utsns?: string;
  /** Owner of the PID namespace. */
  userns?: string;
  /** The uid and gid it runs with, of the user namespace if there is one: 65535 unless told. */
  nobody?: number;
  /** cgroup directories to enter, one of each hierarchy. */
  cgroups?: readonly string[];
  /** Never lower than the daemon's own without CAP_SYS_RESOURCE: then it stays what that is. */
  oomScoreAdj?: number;
  /** Where to pin the PID namespace: a path that is not there yet. */
  pin?: string;
}

/** Where the program is, which also holds a container that is a pod's sandbox: `PROGRAM --hold`, static, without needs. There,
 * `PROGRAM --connect PORT` joins its stdin, a stream socket, with a port of the sandbox's loopback; the first byte that it
 * writes is 0, or the errno of why it cannot.
 */
export function podInitProgram(): string {
  return builtFile("pod-init");
}

export interface PodInit {
  pid: number;
  startTicks: number;
  /** What it really is. */
  oomScoreAdj: number;
}

/**
 * Starts the init of a pod whose containers share a PID namespace (native/pod-init.c). It is a child of the host's init,
 * outlives the daemon, and is watched with watchProcess. SIGTERM ends it, and with it all of its namespace. Throws
 * SystemError with `stage`, and then nothing is left behind.
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
        return spawn({
          file: podInitProgram(),
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
    // It has written its line before it ended, and no other process has the pipe.
    const buffer = Buffer.alloc(256);
    const report = buffer.toString("utf8", 0, readSync(readFd, buffer)).trim();
    const ok = /^ok (\d+) (\d+) (-?\d+)$/.exec(report);
    if (ok !== null) return { pid: Number(ok[1]), startTicks: Number(ok[2]), oomScoreAdj: Number(ok[3]) };
    const error = /^error (.+) (\d+)$/.exec(report);
    if (error !== null) throw systemError(`start pod init: ${error[1]}`, Number(error[2]), "pod-init", error[1]);
    throw systemError(
      `start pod init: it ended without a word (code ${code}, signal ${signal})`,
      5,
      "pod-init",
      "start",
    );
  } finally {
    closeFd(readFd);
  }
}
