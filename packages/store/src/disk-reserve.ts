import { closeSync, fsyncSync, openSync, rmSync, statSync, writeSync } from "node:fs";

/** Enough for the records of a node's worth of containers to be marked as ended and removed. */
const sizeBytes = 1024 * 1024;

/**
 * Room that is kept for a full disk: given up, it lets containers be stopped and removed, which makes
 * more. Without it nothing that frees space could be written down.
 */
export class DiskReserve {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  /** Takes the room when there is some; what cannot be had now is taken at the next try. */
  hold(): void {
    if (this.#isHeld()) return;
    try {
      const fd = openSync(this.#path, "w", 0o600);
      try {
        // Written, not only sized: a sparse file holds no room.
        writeSync(fd, Buffer.alloc(sizeBytes, 0x6b));
        fsyncSync(fd);
      } finally {
        closeSync(fd);
      }
    } catch {
      rmSync(this.#path, { force: true });
    }
  }

  /** Gives the room up; false when there was none. */
  release(): boolean {
    const wasHeld = this.#isHeld();
    rmSync(this.#path, { force: true });
    return wasHeld;
  }

  #isHeld(): boolean {
    return statSync(this.#path, { throwIfNoEntry: false })?.size === sizeBytes;
  }
}
