import { Code, StatusError } from "@keelson/base/status.ts";
import { ContainerState, ListContainersRequest } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Command } from "commander";
import type { App } from "../app.ts";
import { stopContainer } from "../container-steps.ts";
import { addExamples } from "../flags.ts";
import { safeText } from "../output/safe-text.ts";
import type { Session } from "../session.ts";
import { parseWhole } from "../settings.ts";

interface StopFlags {
  timeout: string;
  all?: boolean;
}

/** `stop`: stops containers. */
export function addStop(program: Command, app: App): void {
  const command = program
    .command("stop")
    .description("stop containers and print each id; without -t they are killed at once")
    .argument("[containers...]", "ids or id prefixes")
    .option("-t, --timeout <seconds>", "seconds between the stop signal and the kill", "0")
    .option("-a, --all", "every running container")
    .action((ids: string[], flags: StopFlags) =>
      app.run(async (session) => {
        const graceSeconds = parseWhole(flags.timeout, "--timeout");
        for (const id of await wanted(session, ids, flags)) {
          await stopContainer(session, id, graceSeconds);
          await session.io.stdout.write(`${safeText(id)}\n`);
        }
      }),
    );
  addExamples(command, [["keelctl stop -t 10 $(keelctl ps -q --name web)", "with ten seconds to end by itself"]]);
}

async function wanted(session: Session, ids: string[], flags: StopFlags): Promise<string[]> {
  if (flags.all !== true) {
    if (ids.length === 0)
      throw new StatusError(Code.InvalidArgument, "stop: name the containers to stop, or use --all");
    return ids;
  }
  if (ids.length > 0) throw new StatusError(Code.InvalidArgument, "stop: use --all or name containers, not both");
  const request = ListContainersRequest.fromPartial({ filter: { state: { state: ContainerState.CONTAINER_RUNNING } } });
  const { containers } = await session.runtime.call("listContainers", request);
  if (containers.length === 0) await session.io.stdout.write("No running containers found.\n");
  return containers.map((one) => one.id);
}
