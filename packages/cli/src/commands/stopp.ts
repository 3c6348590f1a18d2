import type { Command } from "commander";
import type { App } from "../app.ts";
import { addExamples } from "../flags.ts";
import { stopPod } from "../pod-steps.ts";

/** `stopp`: stops pods. */
export function addStopp(program: Command, app: App): void {
  const command = program
    .command("stopp")
    .description("stop pods and everything in them; they stay in the list until `rmp`")
    .argument("[pods...]", "ids or id prefixes")
    .action((ids: string[]) =>
      app.run(async (session) => {
        if (ids.length === 0) return app.missing(command, "name the pods to stop");
        for (const id of ids) await session.io.stdout.write(await stopPod(session, id));
      }),
    );
  addExamples(command, [["keelctl stopp $(keelctl pods -q --name web)", "by name"]]);
}
