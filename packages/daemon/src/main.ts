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
  .option("-c, --config <file>", `configuration file (default: ${defaultConfigPath}, if it exists)`)
  .option("--root <dir>", "images, writable layers and state that survive a reboot")
  .option("--state <dir>", "state that ends with the boot")
  .option("--socket <address>", "where to serve, unix:///path or /path")
  .option("--log-level <level>", "debug, info, warn or error")
  .action((options: Options) => run(options))
  .addHelpText(
    "after",
    `
Containers go on running and logging while keelsond is stopped or restarted.

Examples:
  keelsond                                   serve on unix:///run/keelson/keelson.sock
  keelsond --root /tmp/k/lib --state /tmp/k/run --socket unix:///tmp/k/k.sock
                                             a second daemon, independent of the first
  keelsond check --repair                    verify everything that is stored, and repair it
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
  .description(`check a file (default: ${defaultConfigPath}) and report what is wrong, by key`)
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
    // State is on disk at every step, so restarting is safer than going on.
    process.on(event, (error) => {
      log.fatal({ err: error }, `${event}: keelsond exits; containers go on running`);
      process.exit(70);
    });
  }
  const daemon = await startDaemon(settings, log);
  process.on("SIGUSR1", () => logWritten(log, "what keelsond is busy with", () => daemon.dump()));
  // It contains everything that keelsond knows, including secrets. Only root can read it.
  process.on("SIGUSR2", () =>
    logWritten(log, "a heap snapshot", () => writeHeapSnapshot(join(settings.root, `heap-${Date.now()}.heapsnapshot`))),
  );
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.once(signal, () => {
      log.info({ signal }, "closing; containers go on running");
      void daemon.close(shutdownGraceMs).finally(() => process.exit(0));
    });
  }
}

function logWritten(log: Log, what: string, write: () => string): void {
  try {
    log.info({ file: write() }, `wrote ${what}`);
  } catch (error) {
    log.error({ err: error }, `cannot write ${what}`);
  }
}

try {
  await program.parseAsync();
} catch (error) {
  process.stderr.write(`keelsond: ${messageOf(error)}\n`);
  process.exit(1);
}
