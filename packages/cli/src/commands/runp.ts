import type { Command } from "commander";
import type { App } from "../app.ts";
import { readPodConfig } from "../config-file.ts";
import { optionalDurationMs } from "../duration.ts";
import { addExamples } from "../flags.ts";
import { safeText } from "../output/safe-text.ts";
import { runPod } from "../pod-steps.ts";

interface RunpFlags {
  runtime?: string;
  cancelTimeout?: string;
}

/** `runp`: runs a pod. */
export function addRunp(program: Command, app: App): void {
  const command = program
    .command("runp")
    .description("run a pod and print its id")
    .argument("[pod-config]", "JSON or YAML of a PodSandboxConfig; - for stdin")
    .option("-r, --runtime <handler>", "the runtime handler, as `keelctl runtimes` lists them")
    .option("-T, --cancel-timeout <duration>", "give up after twice this time, as crictl does")
    .action((file: string | undefined, flags: RunpFlags) =>
      app.run(async (session) => {
        if (file === undefined) return app.missing(command, "name the file of the pod's configuration");
        const config = await readPodConfig(session.io, file);
        const id = await runPod(
          session,
          config,
          flags.runtime ?? "",
          optionalDurationMs(flags.cancelTimeout, "--cancel-timeout"),
        );
        return session.io.stdout.write(`${safeText(id)}\n`);
      }),
    );
  addExamples(command, [
    ["keelctl runp pod.json", ""],
    ["keelctl runp --runtime gvisor - < pod.yaml", "with another handler, from stdin"],
  ]);
}
