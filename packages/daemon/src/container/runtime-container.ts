import type { Paths } from "../paths.ts";
import { bundleDir } from "../paths.ts";
import type { RuntimeContainer } from "../runtime/runtime.ts";
import type { ContainerRecord } from "./record.ts";

/** What a runtime is told of a container. */
export function runtimeContainerOf({ paths }: { paths: Paths }, { id, logPath, cgroupPath, config }: ContainerRecord): RuntimeContainer {
  return { id, bundleDir: bundleDir(paths, id), cgroupPath, logPath, tty: config.tty, stdin: config.stdin, stdinOnce: config.stdinOnce };
}
