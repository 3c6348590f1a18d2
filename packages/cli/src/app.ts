import type { Command } from "commander";
import type { Session } from "./session.ts";

/** How commands run: main.ts and the tests make one for each command line. */
export interface App {
  /** Opens a session with the global flags and runs a command's body in it; what it returns is the exit code, 0 when nothing. */
  run(body: (session: Session) => Promise<number | void>): Promise<void>;
  /** Prints a command's help because an argument is missing, and says on stderr which. The exit code is 0, as crictl's. */
  missing(command: Command, what: string): Promise<void>;
}
