import { Code, StatusError, wrapError } from "@keelson/base/status.ts";
import { ExecRequest, ExecSyncRequest, type ExecSyncResponse } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Command } from "commander";
import type { App } from "../app.ts";
import { forEachAtOnce } from "../each.ts";
import { addContainerSelection, addExamples, addStreamFlags } from "../flags.ts";
import { note } from "../io.ts";
import { safeText } from "../output/safe-text.ts";
import { type ContainerSelection, selectContainers } from "../select.ts";
import type { Session } from "../session.ts";
import { parseWhole } from "../settings.ts";
import { openRemoteCommand, streamAddress } from "../streaming/remote-command.ts";
import { runRemoteCommand } from "../streaming/run-remote-command.ts";
import type { TlsFlags } from "../streaming/stream-tls.ts";
import { parseTransport } from "../streaming/transport.ts";

interface ExecFlags extends ContainerSelection, TlsFlags {
  sync?: boolean;
  timeout?: string;
  tty?: boolean;
  interactive?: boolean;
  transport: string;
  quiet?: boolean;
  ignoreErrors?: boolean;
  parallel?: boolean;
}

/** `exec`: runs a command in a container, with streams or, with `-s`, in one call. */
export function addExec(program: Command, app: App): void {
  const command = program
    .command("exec")
    .passThroughOptions()
    .description("run a command in a container; its stdout and stderr stay apart, and keelctl exits with its exit code")
    .argument("[container]", "id of the container; not with the flags that choose containers")
    .argument("[command...]", "the command and its arguments")
    .option("-i, --interactive", "pass stdin on")
    .option("-t, --tty", "give the command a terminal, as large as ours")
    .option(
      "-s, --sync",
      "wait for the end, then show the output (at most 16 MiB of each stream); needs no streaming server",
    )
    .option("--timeout <seconds>", "with -s: kill the command after this time; 0 for never")
    .option("-q, --quiet", "do not print the id above each container's output")
    .option("-e, --ignore-errors", "exit with 0 whatever happens in the containers")
    .option("-x, --parallel", "in all chosen containers at the same time, without their ids");
  addContainerSelection(addStreamFlags(command), "--state <state>").action(
    (first: string | undefined, rest: string[], flags: ExecFlags) =>
      app.run((session) => {
        const args = first === undefined ? [] : [first, ...rest];
        return exec(session, args, flags, (what) => app.missing(command, what));
      }),
  );
  addExamples(command, [
    ["keelctl exec -it $ID sh", "a shell"],
    ["keelctl exec -i $ID tar x -C /data < data.tar", "pass stdin on, and its end"],
    ["keelctl exec $ID sh -c 'exit 3'; echo $?", "prints 3"],
    ["keelctl exec -s --timeout 5 $ID cat /etc/hosts", "like a probe"],
    ["keelctl exec --name web -- uptime", "in every container with that name"],
  ]);
}

/** A command for one container or more. */
interface Execution {
  readonly ids: readonly string[];
  readonly cmd: string[];
  readonly flags: ExecFlags;
  /** Whether each container's id stands above its output. */
  readonly hasTitle: boolean;
}

async function exec(
  session: Session,
  args: readonly string[],
  flags: ExecFlags,
  missing: (what: string) => Promise<void>,
): Promise<number | void> {
  const isChosen = [flags.name, flags.pod, flags.image, flags.state, flags.label, flags.latest, flags.last].some(
    (flag) => flag !== undefined,
  );
  const cmd = args.slice(isChosen ? 0 : 1);
  if (cmd.length === 0) return missing(isChosen ? "name the command" : "name the container and the command");
  checkFlags(flags);
  const ids = isChosen ? (await selectContainers(session, flags)).map((one) => one.id) : [args[0]!];
  if (ids.length === 0) return note(session.io, "no container matches the flags");
  if (ids.length > 1 && (flags.interactive === true || flags.tty === true)) {
    throw new StatusError(Code.InvalidArgument, `the flags choose ${ids.length} containers; -i and -t are for one`);
  }
  const hasTitle = isChosen && flags.quiet !== true && flags.parallel !== true;
  try {
    const execution = { ids, cmd, flags, hasTitle };
    const codes = await (flags.sync === true ? execSyncEach(session, execution) : execEach(session, execution));
    return flags.ignoreErrors === true ? 0 : (codes.find((code) => code !== 0) ?? 0);
  } catch (error) {
    if (flags.ignoreErrors !== true || session.io.signal.aborted) throw error;
    return 0;
  }
}

function checkFlags(flags: ExecFlags): void {
  parseTransport(flags.transport);
  if (flags.sync === true && (flags.interactive === true || flags.tty === true))
    throw new StatusError(Code.InvalidArgument, "-s has no streams; leave out -i and -t, or -s");
  if (flags.sync !== true && flags.timeout !== undefined)
    throw new StatusError(Code.InvalidArgument, "--timeout is for -s; a stream ends with its command");
}

/** One container after the other, so that their outputs are not mixed, unless --parallel asks for that. */
async function execEach(session: Session, { ids, cmd, flags, hasTitle }: Execution): Promise<number[]> {
  const codes: number[] = [];
  const run = async (id: string) => {
    if (hasTitle) await session.io.stdout.write(`${safeText(id)}:\n`);
    return execOnce(session, id, cmd, flags);
  };
  const keep = async (code: number) => void codes.push(code);
  if (flags.parallel === true) await forEachAtOnce(ids, run, keep);
  else for (const id of ids) await forEachAtOnce([id], run, keep);
  return codes;
}

async function execOnce(session: Session, id: string, cmd: string[], flags: ExecFlags): Promise<number> {
  const { io } = session;
  const tty = flags.tty === true;
  const wanted = { stdin: flags.interactive === true, stdout: true, stderr: !tty, tty };
  try {
    const { url } = await session.runtime.call("exec", ExecRequest.fromPartial({ containerId: id, cmd, ...wanted }));
    const address = await streamAddress(url, flags, io.signal);
    const remote = await openRemoteCommand(address, parseTransport(flags.transport), wanted);
    const end = await runRemoteCommand(io, remote, { tty, detachKeys: new Uint8Array() });
    if (end.is === "detached") return 0;
    if (end.status.message !== undefined) await note(io, `run ${cmd[0]} in container ${id}: ${end.status.message}`);
    return end.status.exitCode;
  } catch (error) {
    if (io.signal.aborted) throw error;
    throw wrapError(`run ${cmd[0]} in container ${id}`, error);
  }
}

async function execSyncEach(session: Session, { ids, cmd, flags, hasTitle }: Execution): Promise<number[]> {
  const timeout = BigInt(parseWhole(flags.timeout ?? "0", "--timeout"));
  const codes: number[] = [];
  const run = async (id: string) => ({ id, result: await execSyncOnce(session, id, cmd, timeout) });
  const show = async ({ id, result }: { id: string; result: ExecSyncResponse }) => {
    codes.push(result.exitCode);
    if (hasTitle) await session.io.stdout.write(`${safeText(id)}:\n`);
    await session.io.stdout.write(result.stdout);
    await session.io.stderr.write(result.stderr);
  };
  await forEachAtOnce(ids, run, show);
  return codes;
}

async function execSyncOnce(session: Session, id: string, cmd: string[], timeout: bigint): Promise<ExecSyncResponse> {
  try {
    return await session.runtime.call("execSync", ExecSyncRequest.fromPartial({ containerId: id, cmd, timeout }));
  } catch (error) {
    throw wrapError(`run ${cmd[0]} in container ${id}`, error);
  }
}
