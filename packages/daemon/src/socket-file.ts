import { chmodSync, mkdirSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { dirname } from "node:path";
import { Code, StatusError } from "@keelson/base/status.ts";

/**
 * Prepares for a socket at `path`: removes one that a killed daemon left. Throws FailedPrecondition when a program
 * still answers there.
 */
export async function prepareSocket(path: string): Promise<void> {
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  if (await isAnswered(path)) {
    throw new StatusError(
      Code.FailedPrecondition,
      `${path}: another program already serves there; stop it, or set the key socket`,
    );
  }
  rmSync(path, { force: true });
}

/** Lets root and the socket's group connect. */
export function restrictSocket(path: string): void {
  chmodSync(path, 0o660);
}

function isAnswered(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}
