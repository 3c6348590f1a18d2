import { readdir, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { Code, messageOf, StatusError, wrapError } from "@keelson/base/status.ts";
import {
  ContainerState,
  ContainerStatusRequest,
  ListContainersRequest,
  RemoveContainerRequest,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Command } from "commander";
import type { App } from "../app.ts";
import { stopContainer } from "../container-steps.ts";
import { forEachAtOnce } from "../each.ts";
import { addExamples } from "../flags.ts";
import { note } from "../io.ts";
import { safeText } from "../output/safe-text.ts";
import type { Session } from "../session.ts";

interface RmFlags {
  all?: boolean;
  force?: boolean;
  keepLogs?: boolean;
}

/** `rm`: removes containers, and their log files as crictl does. */
export function addRm(program: Command, app: App): void {
  const command = program
    .command("rm")
    .description("remove containers that are not running, with their log files, and print each id")
    .argument("[containers...]", "ids or id prefixes")
    .option("-a, --all", "every container")
    .option("-f, --force", "kill those that are running first")
    .option("-k, --keep-logs", "leave the log files")
    .action((ids: string[], flags: RmFlags) =>
      app.run(async (session) => {
        const containers = flags.all === true ? await allContainers(session) : ids;
        if (containers.length === 0)
          return flags.all === true
            ? note(session.io, "no containers to remove")
            : app.missing(command, "name the containers to remove");
        return forEachAtOnce(
          containers,
          (id) => removeContainer(session, id, flags),
          (lines) => session.io.stdout.write(lines),
        );
      }),
    );
  addExamples(command, [["keelctl rm $(keelctl ps -q -s exited)", "those that have ended"]]);
}

async function allContainers(session: Session): Promise<string[]> {
  const { containers } = await session.runtime.call("listContainers", ListContainersRequest.fromPartial({}));
  return containers.map((one) => one.id);
}

async function removeContainer(session: Session, id: string, flags: RmFlags): Promise<string> {
  let lines = "";
  try {
    const { status } = await session.runtime.call(
      "containerStatus",
      ContainerStatusRequest.fromPartial({ containerId: id }),
    );
    if (status?.state === ContainerState.CONTAINER_RUNNING) {
      if (flags.force !== true)
        throw new StatusError(Code.FailedPrecondition, "it is running; stop it first, or use --force");
      await stopContainer(session, id, 0);
      lines = `${safeText(id)}\n`;
    }
    await session.runtime.call("removeContainer", RemoveContainerRequest.fromPartial({ containerId: id }));
    if (flags.keepLogs !== true && status !== undefined && status.logPath !== "")
      await removeLogs(session, status.logPath);
  } catch (error) {
    throw wrapError(`remove container ${id}`, error);
  }
  return `${lines}${safeText(id)}\n`;
}

/** Removes the log and its rotations, which a kubelet names `LOG.TIMESTAMP`, as far as they exist. */
async function removeLogs(session: Session, path: string): Promise<void> {
  const name = basename(path);
  const files = await readdir(dirname(path)).catch(() => [] as string[]);
  for (const file of files.filter((file) => file === name || file.startsWith(`${name}.`))) {
    await rm(join(dirname(path), file), { force: true }).catch((error: unknown) =>
      note(session.io, `the log ${join(dirname(path), file)} is still there: ${messageOf(error)}`),
    );
  }
}
