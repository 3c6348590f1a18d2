import { resolve } from "node:path";
import { Code, codeOf, StatusError, wrapError } from "@keelson/base/status.ts";
import { CheckpointContainerRequest } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Command } from "commander";
import type { App } from "../app.ts";
import { addExamples } from "../flags.ts";
import { safeText } from "../output/safe-text.ts";

/** `checkpoint`: writes a container's memory to a file, where the runtime can; keelsond cannot yet. */
export function addCheckpoint(program: Command, app: App): void {
  const command = program
    .command("checkpoint")
    .description(
      "write the state of running containers to a file, where the runtime can (keelsond cannot yet), and print each id",
    )
    .argument("<containers...>", "ids or id prefixes")
    .requiredOption("-e, --export <file>", "the archive to write, on the runtime's host")
    .action((ids: string[], flags: { export: string }) =>
      app.run(async ({ io, runtime }) => {
        if (ids.length > 1)
          throw new StatusError(Code.InvalidArgument, "--export names one file, which takes one container");
        const [id] = ids as [string];
        try {
          await runtime.call(
            "checkpointContainer",
            CheckpointContainerRequest.fromPartial({ containerId: id, location: resolve(flags.export) }),
          );
        } catch (error) {
          if (codeOf(error) === Code.Unimplemented)
            throw new StatusError(Code.Unimplemented, "checkpoint: this runtime cannot checkpoint containers", error);
          throw wrapError(`checkpoint container ${id}`, error);
        }
        await io.stdout.write(`${safeText(id)}\n`);
      }),
    );
  addExamples(command, [["keelctl checkpoint --export /tmp/web.tar $ID", "the container keeps running"]]);
}
