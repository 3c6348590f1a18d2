import { VersionRequest } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Command } from "commander";
import type { App } from "../app.ts";
import { addExamples } from "../flags.ts";
import { safeText } from "../output/safe-text.ts";

/** `version`: which runtime answers at the endpoint. */
export function addVersion(program: Command, app: App): void {
  const command = program
    .command("version")
    .description("show which runtime answers, and its versions")
    .action(() =>
      app.run(async ({ io, runtime }) => {
        const version = await runtime.call("version", VersionRequest.fromPartial({ version: "v1" }));
        const lines = [
          ["Version", version.version],
          ["RuntimeName", version.runtimeName],
          ["RuntimeVersion", version.runtimeVersion],
          ["RuntimeApiVersion", version.runtimeApiVersion],
        ] as const;
        await io.stdout.write(lines.map(([name, value]) => `${name}:  ${safeText(value)}\n`).join(""));
      }),
    );
  addExamples(command, [["keelctl version", "is it keelsond that answers?"]]);
}
