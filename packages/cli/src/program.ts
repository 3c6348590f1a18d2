import { messageOf } from "@keelson/base/status.ts";
import { Command, CommanderError } from "commander";
import type { App } from "./app.ts";
import { addAttach } from "./commands/attach.ts";
import { addCheckpoint } from "./commands/checkpoint.ts";
import { addCompletion } from "./commands/completion.ts";
import { addConfig } from "./commands/config.ts";
import { addCreate } from "./commands/create.ts";
import { addEvents } from "./commands/events.ts";
import { addExec } from "./commands/exec.ts";
import { addImagefsinfo } from "./commands/imagefsinfo.ts";
import { addImages } from "./commands/images.ts";
import { addInfo } from "./commands/info.ts";
import { addInspect } from "./commands/inspect.ts";
import { addInspecti } from "./commands/inspecti.ts";
import { addInspectp } from "./commands/inspectp.ts";
import { addLogs } from "./commands/logs.ts";
import { addMetricdescs } from "./commands/metricdescs.ts";
import { addMetricsp } from "./commands/metricsp.ts";
import { addPods } from "./commands/pods.ts";
import { addPortForward } from "./commands/port-forward.ts";
import { addPs } from "./commands/ps.ts";
import { addPull } from "./commands/pull.ts";
import { addRm } from "./commands/rm.ts";
import { addRmi } from "./commands/rmi.ts";
import { addRmp } from "./commands/rmp.ts";
import { addRun } from "./commands/run.ts";
import { addRunp } from "./commands/runp.ts";
import { addRuntimeConfig } from "./commands/runtime-config.ts";
import { addRuntimes } from "./commands/runtimes.ts";
import { addStart } from "./commands/start.ts";
import { addStats } from "./commands/stats.ts";
import { addStatsp } from "./commands/statsp.ts";
import { addStop } from "./commands/stop.ts";
import { addStopp } from "./commands/stopp.ts";
import { addTop } from "./commands/top.ts";
import { addTrace } from "./commands/trace.ts";
import { addUpdateRuntimeConfig } from "./commands/update-runtime-config.ts";
import { addUpdate } from "./commands/update.ts";
import { addVersion } from "./commands/version.ts";
import { addExamples } from "./flags.ts";
import { rewriteGoFlags } from "./go-flags.ts";
import { Interrupt, type Io, note } from "./io.ts";
import { openSession } from "./session.ts";
import { type GlobalOptions, readSettings } from "./settings.ts";

const version = "0.1.0";

/** Runs one command line (without the program's name) and returns its exit code. */
export async function runProgram(args: readonly string[], io: Io): Promise<number> {
  const printed: Promise<void>[] = [];
  const program = globalOptions(new Command("keelctl"));
  program
    .exitOverride()
    .enablePositionalOptions()
    .configureHelp({ helpWidth: io.stdout.columns, sortSubcommands: true })
    .configureOutput({
      writeOut: (text) => void printed.push(io.stdout.write(text)),
      outputError: (text) => void printed.push(io.stderr.write(`keelctl: ${text.replace(/^error: /, "")}`)),
    });
  let exitCode = 0;
  const app: App = {
    async run(body) {
      using session = openSession(io, await readSettings(io, program.opts<GlobalOptions>()));
      exitCode = (await body(session)) ?? 0;
    },
    async missing(command, what) {
      await note(io, `${command.name()}: ${what}`);
      command.outputHelp();
    },
  };
  addCommands(program, app);
  try {
    await program.parseAsync(args.length === 0 ? ["--help"] : rewriteGoFlags(program, args), { from: "user" });
  } catch (error) {
    exitCode = error instanceof CommanderError ? parserExitCode(error) : await report(io, error);
  }
  await Promise.all(printed);
  return exitCode;
}

function globalOptions(program: Command): Command {
  program
    .description("Inspect and drive a Kubernetes container runtime through the CRI: keelsond, or any other.")
    .version(`keelctl version ${version}`, "-v, --version", "print keelctl's version")
    .option(
      "-r, --runtime-endpoint <socket>",
      "the runtime's socket (or CONTAINER_RUNTIME_ENDPOINT); without it keelsond's, else another one that answers",
    )
    .option("-i, --image-endpoint <socket>", "the socket for images (or IMAGE_SERVICE_ENDPOINT), if it is another one")
    .option(
      "-t, --timeout <duration>",
      "how long each call may take, such as 10s; without it 2s for lists, 2m for changes",
    )
    .option("-c, --config <file>", "settings (or CRI_CONFIG_FILE); without it crictl's /etc/crictl.yaml")
    .option(
      "--max-retries <count>",
      "how often to try a named socket again when nothing answers; negative: forever (3 without it)",
    )
    .option("-D, --debug", "print each call with its time on stderr");
  return addExamples(program, [
    ["keelctl ps -a", "the containers on this host"],
    ["keelctl run container.json pod.json", "a pod with one container"],
    ["keelctl -r unix:///run/containerd/containerd.sock pods", "the pods of another runtime"],
  ]);
}

function addCommands(program: Command, app: App): void {
  for (const add of [
    addAttach,
    addCheckpoint,
    addCompletion,
    addConfig,
    addCreate,
    addEvents,
    addExec,
    addImagefsinfo,
    addImages,
    addInfo,
    addInspect,
    addInspecti,
    addInspectp,
    addLogs,
    addMetricdescs,
    addMetricsp,
    addPods,
    addPortForward,
    addPs,
    addPull,
    addRm,
    addRmi,
    addRmp,
    addRun,
    addRunp,
    addRuntimeConfig,
    addRuntimes,
    addStart,
    addStats,
    addStatsp,
    addStop,
    addStopp,
    addTop,
    addTrace,
    addUpdate,
    addUpdateRuntimeConfig,
    addVersion,
  ]) {
    add(program, app);
  }
}

/** crictl exits with 3 for an unknown command, and with 1 for wrong flags. */
function parserExitCode(error: CommanderError): number {
  if (error.code === "commander.unknownCommand") return 3;
  return error.code.startsWith("commander.help") ? 0 : error.exitCode;
}

async function report(io: Io, error: unknown): Promise<number> {
  await note(io, messageOf(error));
  return io.signal.reason instanceof Interrupt ? io.signal.reason.exitCode : 1;
}
