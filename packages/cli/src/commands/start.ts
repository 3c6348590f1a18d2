import { Code, StatusError } from "@keelson/base/status.ts";
import type { Command } from "commander";
import type { App } from "../app.ts";
import { startContainer } from "../container-steps.ts";
import { addExamples } from "../flags.ts";
import { safeText } from "../output/safe-text.ts";

/** `start`: starts containers. */
export function addStart(program: Command, app: App): void {
  const command = program
    .command("start")
    .description("start containers that were created, and print each id")
    .argument("[containers...]", "ids or id prefixes")
    .action((ids: string[]) =>
      app.run(async (session) => {
        if (ids.length === 0) throw new StatusError(Code.InvalidArgument, "start: name the containers to start");
        for (const id of ids) {
          await startContainer(session, id);
          await session.io.stdout.write(`${safeText(id)}\n`);
        }
      }),
    );
  addExamples(command, [["keelctl start $(keelctl create $POD container.json pod.json)", ""]]);
}
