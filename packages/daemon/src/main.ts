import { join } from "node:path";
import { writeHeapSnapshot } from "node:v8";
import type { Log } from "@keelson/base/log.ts";
import { messageOf } from "@keelson/base/status.ts";
import { version } from "@keelson/base/version.ts";
import { Command } from "commander";
import { pino } from "pino";
import { addCheckCommand } from "./check/command.ts";
import { defaultConfigFile } from "./config/default-file.ts";
import { defaultConfigPath, loadConfig, type Overrides } from "./config/load.ts";
import { startDaemon } from "./daemon.ts";

/** How long calls under way may take to end after SIGTERM, in ms. */
const shutdownGraceMs = 10_000;

interface Options extends Overrides {
  config?: string;
}

const program = new Command("keelsond")
  .description(
    "Kubernetes container runtime: serves the Container Runtime Interface (CRI v1) to a kubelet on a unix socket.",
  )
  .version(version)
  .option("-c, --config <file>", `configuration file (default: ${defaultConfigPath}, if it is there)`)
  .option("--root <dir>", "images, writable layers and state that outlive a boot")
  .option("--state <dir>", "what lives until the next boot")
  .option("--socket <address>", "where to serve, unix:///path")
  .option("--log-level <level>", "debug, info, warn or error")
  .action((options: Options) => run(options))
  .addHelpText(
    "after",
    `
Containers go on running and logging while keelsond is stopped or restarted.

Examples:
  keelsond                                   serve on unix:///run/keelson/keelson.sock
  keelsond --root /tmp/k/lib --state /tmp/k/run --socket unix:///tmp/k/k.sock
                                             a second daemon, apart from the first
  keelsond check --repair                    verify everything that is kept, and repair it
  keelsond config default > ${defaultConfigPath}
  keelsond config check ${defaultConfigPath}`,
  );

addCheckCommand(program);
const config = program.command("config").description("print or check a configuration file");
config
  .command("default")
  .description("print the default configuration with every key explained")
  .action(() => void process.stdout.write(defaultConfigFile));
config
  .command("check [file]")
  .description(`check a file (default: ${defaultConfigPath}) and say what is wrong, by key`)
  .action((file: string | undefined) => {
    loadConfig(file ?? defaultConfigPath);
    process.stdout.write("the configuration is valid\n");
  });

async function run(options: Options): Promise<void> {
  const settings = loadConfig(options.config, options);
  const log = pino(
    { name: "keelsond", level: settings.log.level, timestamp: pino.stdTimeFunctions.isoTime },
    pino.destination({ fd: 2, sync: true }),
  );
  for (const event of ["uncaughtException", "unhandledRejection"] as const) {
    // State is on disk at every step: starting anew is safer than going on.
    process.on(event, (error) => {
      log.fatal({ err: error }, `${event}: keelsond ends; containers go on running`);
      process.exit(70);
    });
  }
  const daemon = await startDaemon(settings, log);
  process.on("SIGUSR1", () => tell(log, "what keelsond is busy with", () => daemon.dump()));
  // It has everything in it that keelsond knows, also secrets: readable by root only.
  process.on("SIGUSR2", () =>
    tell(log, "a heap snapshot", () => writeHeapSnapshot(join(settings.root, `heap-${Date.now()}.heapsnapshot`))),
  );
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.once(signal, () => {
      log.info({ signal }, "closing; containers go on running");
      void daemon.close(shutdownGraceMs).finally(() => process.exit(0));
    });
  }
}

function tell(log: Log, what: string, write: () => string): void {
  try {
    log.info({ file: write() }, `${what} is written`);
  } catch (error) {
    log.error({ err: error }, `${what} cannot be written`);
  }
}

try {
  await program.parseAsync();
} catch (error) {
  process.stderr.write(`keelsond: ${messageOf(error)}\n`);
  process.exit(1);
}
