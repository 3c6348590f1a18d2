import { wrapError } from "@keelson/base/status.ts";
import { AttachRequest, ContainerState, ContainerStatusRequest } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Command } from "commander";
import type { App } from "../app.ts";
import { addExamples, addStreamFlags } from "../flags.ts";
import { note } from "../io.ts";
import type { Session } from "../session.ts";
import { parseDetachKeys } from "../streaming/detach-keys.ts";
import { openRemoteCommand, streamAddress } from "../streaming/remote-command.ts";
import { runRemoteCommand } from "../streaming/run-remote-command.ts";
import type { TlsFlags } from "../streaming/stream-tls.ts";
import { parseTransport } from "../streaming/transport.ts";

interface AttachFlags extends TlsFlags {
  stdin?: boolean;
  tty?: boolean;
  transport: string;
  detachKeys: string;
}

/** How often to check whether the container has ended after its streams have, every 100 ms. */
const maxLooks = 20;

/** `attach`: joins the streams of a container's own process. */
export function addAttach(program: Command, app: App): void {
  const command = program
    .command("attach")
    .description(
      "show what a container writes from now on, and write to it; keelctl exits with its exit code when it ends",
    )
    .argument("[container]", "id or id prefix")
    .option("-i, --stdin", "pass stdin on; the container must have been created with stdin")
    .option("-t, --tty", "the container has a terminal: connect ours with it")
    .option(
      "--detach-keys <keys>",
      "with -t: keys that detach from the container, such as ctrl-a,d, or `none`",
      "ctrl-p,ctrl-q",
    )
    .action((id: string | undefined, flags: AttachFlags) => {
      if (id === undefined) return app.missing(command, "name the container");
      return app.run((session) => attach(session, id, flags));
    });
  addExamples(addStreamFlags(command), [
    ["keelctl attach $ID", "only watch; Ctrl-C ends keelctl, not the container"],
    ["keelctl attach -it $ID", "its terminal; Ctrl-P Ctrl-Q detaches"],
  ]);
}

async function attach(session: Session, id: string, flags: AttachFlags): Promise<number> {
  const { io } = session;
  const tty = flags.tty === true;
  const transport = parseTransport(flags.transport);
  const detachKeys = tty ? parseDetachKeys(flags.detachKeys) : new Uint8Array();
  const wanted = { stdin: flags.stdin === true, stdout: true, stderr: !tty, tty };
  try {
    const { url } = await session.runtime.call("attach", AttachRequest.fromPartial({ containerId: id, ...wanted }));
    const address = await streamAddress(url, flags, io.signal);
    const remote = await openRemoteCommand(address, transport, wanted);
    const end = await runRemoteCommand(io, remote, { tty, detachKeys });
    if (end.is === "ended") return (await exitCodeOf(session, id)) ?? end.status.exitCode;
    await note(io, `detached from container ${id}`);
    return 0;
  } catch (error) {
    if (io.signal.aborted) throw error;
    throw wrapError(`attach to container ${id}`, error);
  }
}

/**
 * The streams end a moment before the container's end is known. Undefined when it keeps running, or is gone already.
 */
async function exitCodeOf(session: Session, id: string): Promise<number | undefined> {
  for (let look = 0; look < maxLooks; look += 1) {
    try {
      const { status } = await session.runtime.call(
        "containerStatus",
        ContainerStatusRequest.fromPartial({ containerId: id }),
      );
      if (status?.state === ContainerState.CONTAINER_EXITED) return status.exitCode;
    } catch {
      return undefined;
    }
    await session.io.sleep(100, session.io.signal);
  }
  return undefined;
}
