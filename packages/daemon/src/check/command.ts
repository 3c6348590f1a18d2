import { messageOf } from "@keelson/base/status.ts";
import { type Command, Option } from "commander";
import { loadConfig } from "../config/load.ts";
import { exitCodeOf, jsonOf, summaryOf, textObserver } from "./report.ts";
import { type CheckObserver, runCheck } from "./run-check.ts";

interface CheckOptions {
  repair?: boolean;
  output: "text" | "json";
  root?: string;
  state?: string;
  config?: string;
}

/** Adds `keelsond check` to a program. */
export function addCheckCommand(program: Command): void {
  program
    .command("check")
    .description(
      "verify everything that keelsond keeps: records against pods and containers, images and layers file by file",
    )
    .option("--repair", "repair what is found, one thing after the other, and say what was done")
    .addOption(
      new Option("-o, --output <format>", "how to print what is found").choices(["text", "json"]).default("text"),
    )
    .option("--root <dir>", "as of keelsond")
    .option("--state <dir>", "as of keelsond")
    .option("-c, --config <file>", "as of keelsond")
    .action(async (_options: object, command: Command) => {
      // The daemon's own options of these names stand before or after `check`.
      process.exitCode = await check(command.optsWithGlobals<CheckOptions>());
    })
    .addHelpText(
      "after",
      `
Works while keelsond is stopped and beside one that runs; containers are not disturbed by either. A
layer that is damaged is pulled again by its digest, and only what differs is replaced.

Exit code: 0 nothing is wrong, or all was repaired; 1 something is left; 2 it could not be checked.

Examples:
  keelsond check                   look only
  keelsond check --repair          and repair what can be repaired
  keelsond check -o json | jq .    for other programs
  keelsond check --root /tmp/k/lib --state /tmp/k/run`,
    );
}

async function check(options: CheckOptions): Promise<number> {
  try {
    const config = loadConfig(options.config, options);
    const isText = options.output === "text";
    const write = (text: string) => void process.stdout.write(text);
    const report = await runCheck(config, options.repair === true, isText ? textObserver(config.root, write) : quiet);
    write(isText ? summaryOf(report) : jsonOf(report));
    return exitCodeOf(report);
  } catch (error) {
    process.stderr.write(`keelsond check: ${messageOf(error)}\n`);
    return 2;
  }
}

const quiet: CheckObserver = { started: () => {}, found: () => {}, ended: () => {} };
