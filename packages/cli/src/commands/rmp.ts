import { Code, StatusError, wrapError } from "@keelson/base/status.ts";
import {
  ListPodSandboxRequest,
  PodSandboxState,
  PodSandboxStatusRequest,
  RemovePodSandboxRequest,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Command } from "commander";
import type { App } from "../app.ts";
import { forEachAtOnce } from "../each.ts";
import { addExamples } from "../flags.ts";
import { note } from "../io.ts";
import { safeText } from "../output/safe-text.ts";
import { stopPod } from "../pod-steps.ts";
import type { Session } from "../session.ts";

interface RmpFlags {
  all?: boolean;
  force?: boolean;
}

/** `rmp`: removes pods. */
export function addRmp(program: Command, app: App): void {
  const command = program
    .command("rmp")
    .description("remove pods that are stopped, with everything in them")
    .argument("[pods...]", "ids or id prefixes")
    .option("-a, --all", "every pod")
    .option("-f, --force", "stop those that are running first")
    .action((ids: string[], flags: RmpFlags) =>
      app.run(async (session) => {
        const pods = flags.all === true ? await allPods(session) : ids;
        if (pods.length === 0)
          return flags.all === true
            ? note(session.io, "no pods to remove")
            : app.missing(command, "name the pods to remove");
        return forEachAtOnce(
          pods,
          (id) => removePod(session, id, flags.force === true),
          (lines) => session.io.stdout.write(lines),
        );
      }),
    );
  addExamples(command, [["keelctl rmp -fa", "stop and remove every pod"]]);
}

async function allPods(session: Session): Promise<string[]> {
  const { items } = await session.runtime.call("listPodSandbox", ListPodSandboxRequest.fromPartial({}));
  return items.map((pod) => pod.id);
}

async function removePod(session: Session, id: string, isForced: boolean): Promise<string> {
  let lines = "";
  try {
    const { status } = await session.runtime.call(
      "podSandboxStatus",
      PodSandboxStatusRequest.fromPartial({ podSandboxId: id }),
    );
    if (status?.state === PodSandboxState.SANDBOX_READY) {
      if (!isForced) throw new StatusError(Code.FailedPrecondition, "it is running; stop it first, or use --force");
      lines = await stopPod(session, id);
    }
    await session.runtime.call("removePodSandbox", RemovePodSandboxRequest.fromPartial({ podSandboxId: id }));
  } catch (error) {
    throw wrapError(`remove pod ${id}`, error);
  }
  return `${lines}Removed sandbox ${safeText(id)}\n`;
}
