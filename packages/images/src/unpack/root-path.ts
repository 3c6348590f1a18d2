import fs from "node:fs";
import { inTree } from "../binary-path.ts";

/** A path of a layer as an absolute one, on a thread that has entered the layer as its root. */
export function inRoot(path: string): string | Buffer {
  return inTree("/", `/${path}`);
}

/** Undefined when nothing is there, also when a parent on the way is not a directory. */
export function lstatInRoot(path: string): fs.Stats | undefined {
  try {
    return fs.lstatSync(inRoot(path), { throwIfNoEntry: false });
  } catch (error) {
    if (errnoOf(error) === "ENOTDIR") return undefined;
    throw error;
  }
}

/** The name of a system error, or "". */
export function errnoOf(error: unknown): string {
  return (error as NodeJS.ErrnoException | undefined)?.code ?? "";
}
