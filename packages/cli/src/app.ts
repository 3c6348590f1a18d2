import type { Command } from "commander";
import type { Session } from "./session.ts";

/** How commands run; program.ts makes one for each command line. */
export interface App {
  /** Opens a session with the global flags and runs a command's body in it, which may return an exit code. */
  run(body: (session: Session) => Promise<number | void>): Promise<void>;
  /** Prints a command's help and says on stderr which argument is missing. Exits with 0, as crictl does. */
  missing(command: Command, what: string): Promise<void>;
}
