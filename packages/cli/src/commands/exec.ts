import type { Command } from "commander";
import { Code, StatusError, wrapError } from "@keelson/base/status.ts";
import { ExecSyncRequest, type ExecSyncResponse } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { App } from "../app.ts";
import { forEachAtOnce } from "../each.ts";
import { addContainerSelection, addExamples } from "../flags.ts";
import { note } from "../io.ts";
import { safeText } from "../output/safe-text.ts";
import { type ContainerSelection, selectContainers } from "../select.ts";
import type { Session } from "../session.ts";
import { parseWhole } from "../settings.ts";

interface ExecFlags extends ContainerSelection {
  sync?: boolean;
  timeout?: string;
  quiet?: boolean;
  ignoreErrors?: boolean;
  parallel?: boolean;
}

/** `exec`: runs a command in a container. Only `-s` for now; streams come with the streaming part. */
export function addExec(program: Command, app: App): void {
  const command = program
    .command("exec")
    .passThroughOptions()
    .description("run a command in a container: its stdout and stderr come as they are, its exit code is keelctl's")
    .argument("[container]", "id of the container; not with the flags that choose containers")
    .argument("[command...]", "the command and its arguments")
    .option("-s, --sync", "wait for the end, then show the output (at most 16 MiB of each stream)")
    .option("--timeout <seconds>", "kill the command after this time; 0 for never")
    .option("-t, --tty", "a terminal for the command (needs streaming)")
    .option("-i, --interactive", "pass stdin on (needs streaming)")
    .option("-r, --transport <name>", "spdy or websocket, for streaming", "spdy")
    .option("-q, --quiet", "do not print the id above each container's output")
    .option("-e, --ignore-errors", "exit with 0 whatever happens in the containers")
    .option("-x, --parallel", "in all chosen containers at the same time, without their ids");
  for (const name of ["sni", "server-name", "ca", "cert", "key"]) command.option(`--tls-${name} <value>`, "for streaming over TLS");
  addContainerSelection(command, "--state <state>").action((first: string | undefined, rest: string[], flags: ExecFlags) =>
    app.run((session) => exec(session, app, command, first === undefined ? [] : [first, ...rest], flags)),
  );
  addExamples(command, [
    ["keelctl exec -s $ID cat /etc/hosts", ""],
    ["keelctl exec -s $ID sh -c 'exit 3'; echo $?", "prints 3"],
    ["keelctl exec -s --name web -- uptime", "in every container of that name"],
  ]);
}

async function exec(session: Session, app: App, command: Command, args: string[], flags: ExecFlags): Promise<number | void> {
  const isChosen = [flags.name, flags.pod, flags.image, flags.state, flags.label, flags.latest, flags.last].some((flag) => flag !== undefined);
  const cmd = isChosen ? args : args.slice(1);
  if (cmd.length === 0) return app.missing(command, isChosen ? "name the command" : "name the container and the command");
  if (flags.sync !== true) throw new StatusError(Code.Unimplemented, "exec without -s needs a stream, which keelctl does not have yet; use `keelctl exec -s`");
  const ids = isChosen ? (await selectContainers(session, flags)).map((one) => one.id) : [args[0]!];
  if (ids.length === 0) return note(session.io, "no container matches the flags");
  const hasTitle = isChosen && flags.quiet !== true && flags.parallel !== true;
  const timeout = BigInt(parseWhole(flags.timeout ?? "0", "--timeout"));
  const codes: number[] = [];
  const run = async (id: string) => ({ id, result: await execOnce(session, id, cmd, timeout) });
  const show = async ({ id, result }: { id: string; result: ExecSyncResponse }) => {
    codes.push(result.exitCode);
    if (hasTitle) await session.io.stdout.write(`${safeText(id)}:\n`);
    await session.io.stdout.write(result.stdout);
    await session.io.stderr.write(result.stderr);
  };
  try {
    await forEachAtOnce(ids, run, show);
  } catch (error) {
    if (flags.ignoreErrors !== true) throw error;
  }
  return flags.ignoreErrors === true ? 0 : (codes.find((code) => code !== 0) ?? 0);
}

async function execOnce(session: Session, id: string, cmd: string[], timeout: bigint): Promise<ExecSyncResponse> {
  try {
    return await session.runtime.call("execSync", ExecSyncRequest.fromPartial({ containerId: id, cmd, timeout }));
  } catch (error) {
    throw wrapError(`run ${cmd[0]} in container ${id}`, error);
  }
}
