import type { Duplex } from "node:stream";

/**
 * Passes bytes and ends both ways, until both have ended; what breaks one breaks the other. Each end of either is passed
 * on, so one may go on reading after its last byte.
 */
export async function join(a: Duplex, b: Duplex): Promise<void> {
  const both = [[a, b], [b, a]] as const;
  await Promise.all(
    both.map(([one, other]) => {
      one.on("error", () => {});
      one.pipe(other);
      const isClosed = new Promise<void>((resolve) => {
        one.once("close", () => {
          // After a good end the other has got it by the pipe and goes on with its own half.
          if (!one.readableEnded || one.errored !== null) other.destroy();
          resolve();
        });
      });
      if (one.destroyed) other.destroy();
      return one.destroyed ? Promise.resolve() : isClosed;
    }),
  );
}
