import { basename, dirname, extname, join } from "node:path";
import { Code, codeOf, StatusError } from "@keelson/base/status.ts";
import {
  type ContainerStatus,
  ContainerState,
  ContainerStatusRequest,
  ReopenContainerLogRequest,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Command } from "commander";
import type { App } from "../app.ts";
import { addExamples } from "../flags.ts";
import { note } from "../io.ts";
import { LogPrinter, type PrintOptions } from "../logs/log-printer.ts";
import { createLogWaiter } from "../logs/log-waiter.ts";
import { readLog } from "../logs/read-log.ts";
import { parseSinceNs } from "../logs/since.ts";
import type { Session } from "../session.ts";
import { parseWhole } from "../settings.ts";

interface LogsFlags {
  follow?: boolean;
  previous?: boolean;
  reopen?: boolean;
  tail?: string;
  limitBytes?: string;
  since?: string;
  timestamps?: boolean;
  stream?: string;
}

/** `logs`: what a container wrote. */
export function addLogs(program: Command, app: App): void {
  const command = program
    .command("logs")
    .description("print what a container wrote, from its log file on this host")
    .argument("[container]", "id or id prefix")
    .option("-f, --follow", "keep printing until the container ends")
    .option("-p, --previous", "the log of the attempt before this one")
    .option("-r, --reopen", "have the runtime reopen the log file first")
    .option("--tail <lines>", "only the last lines, this many")
    .option("--limit-bytes <bytes>", "stop after this many bytes")
    .option("--since <when>", "only what is newer: 42m, 2026-01-02T13:23:37, 2026-01-02 or seconds since 1970")
    .option("-t, --timestamps", "the time before each line")
    .option("-s, --stream <name>", "only stdout or only stderr")
    .action((id: string | undefined, flags: LogsFlags) =>
      app.run((session) => {
        if (id === undefined || id === "") throw new StatusError(Code.InvalidArgument, "logs: name the container");
        return logs(session, id, flags);
      }),
    );
  addExamples(command, [
    ["keelctl logs -f --tail 20 $ID", "the last lines, and then new ones"],
    ["keelctl logs -s stderr -t --since 1h $ID", "the errors of the last hour, with their times"],
  ]);
}

async function logs(session: Session, id: string, flags: LogsFlags): Promise<void> {
  const { io } = session;
  const options = printOptions(flags, io.now());
  const tailLines = atLeastZero(flags.tail, "--tail");
  if (flags.reopen === true) {
    await session.runtime.call("reopenContainerLog", ReopenContainerLogRequest.fromPartial({ containerId: id }));
    await note(io, "the log file was reopened");
  }
  const status = await statusOf(session, id);
  if (status.logPath === "")
    throw new StatusError(
      Code.NotFound,
      `container ${id} has no log: it was created without a log_path, or its pod without a log_directory`,
    );
  const path = flags.previous === true ? previousPath(status) : status.logPath;
  const printer = new LogPrinter(io.stdout, io.stderr, options);
  if (flags.follow !== true) return readLog(path, printer, { tailLines });
  using waiter = createLogWaiter(
    path,
    () => hasEnded(session, status.id),
    (ms, signal) => io.sleep(ms, signal),
    io.signal,
  );
  try {
    await readLog(path, printer, { tailLines, follow: waiter });
  } catch (error) {
    // Ctrl-C is the normal way to end this.
    if (!io.signal.aborted) throw error;
  }
}

function printOptions(flags: LogsFlags, nowMs: number): PrintOptions {
  const { stream } = flags;
  if (stream !== undefined && stream !== "stdout" && stream !== "stderr")
    throw new StatusError(Code.InvalidArgument, `--stream ${stream}: must be stdout or stderr`);
  if (stream !== undefined && flags.tail !== undefined)
    throw new StatusError(
      Code.InvalidArgument,
      "--tail counts the lines of both streams; it cannot be used with --stream",
    );
  return {
    stream,
    timestamps: flags.timestamps === true,
    sinceNs: flags.since === undefined || flags.since === "" ? undefined : parseSinceNs(flags.since, nowMs),
    limitBytes: atLeastZero(flags.limitBytes, "--limit-bytes"),
  };
}

/** For crictl a negative number is no limit. */
function atLeastZero(text: string | undefined, what: string): number | undefined {
  const number = text === undefined ? -1 : parseWhole(text, what);
  return number < 0 ? undefined : number;
}

async function statusOf(session: Session, id: string): Promise<ContainerStatus> {
  const { status } = await session.runtime.call(
    "containerStatus",
    ContainerStatusRequest.fromPartial({ containerId: id }),
  );
  if (status === undefined) throw new StatusError(Code.Internal, `the runtime gave no status for container ${id}`);
  return status;
}

/** A kubelet names logs by attempt: `2.log` comes after `1.log`. */
function previousPath(status: ContainerStatus): string {
  const attempt = status.metadata?.attempt ?? 0;
  if (attempt === 0)
    throw new StatusError(
      Code.NotFound,
      `container ${status.metadata?.name ?? status.id} is in its first attempt; there is no earlier log`,
    );
  return join(dirname(status.logPath), `${attempt - 1}${extname(basename(status.logPath))}`);
}

/** A container keeps running while its runtime is down, and one that is created may still start. */
async function hasEnded(session: Session, id: string): Promise<boolean> {
  try {
    const { state } = await statusOf(session, id);
    return state !== ContainerState.CONTAINER_RUNNING && state !== ContainerState.CONTAINER_CREATED;
  } catch (error) {
    const code = codeOf(error);
    if (code === Code.NotFound) return true;
    if (code === Code.Unavailable || code === Code.DeadlineExceeded) return false;
    throw error;
  }
}
