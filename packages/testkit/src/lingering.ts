import { after } from "node:test";
import { slowness } from "./wait.ts";

/** How long a process of tests may go on after the last of them, say because a test that failed has left a server open. */
const lingerMs = 20_000 * slowness;

/**
 * Has this process fail, and end, when something keeps it running after its last test: whoever runs it would wait without
 * end. `program` is named in the message.
 */
export function failOnLingering(program: string): void {
  after(() => {
    setTimeout(() => {
      const open = process.getActiveResourcesInfo().join(", ");
      process.stderr.write(`${program} does not end after its last test; still open: ${open}\n`);
      process.exit(1);
    }, lingerMs).unref();
  });
}
