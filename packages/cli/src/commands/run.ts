import { wrapError } from "@keelson/base/status.ts";
import type { Command } from "commander";
import type { App } from "../app.ts";
import { readContainerConfig, readPodConfig } from "../config-file.ts";
import { createContainer, type CreateFlags, startContainer } from "../container-steps.ts";
import { addExamples } from "../flags.ts";
import { safeText } from "../output/safe-text.ts";
import { runPod } from "../pod-steps.ts";
import { addCreateFlags, wantsPull } from "./create.ts";

interface RunFlags extends CreateFlags {
  runtime?: string;
}

/** `run`: a pod with one container, in one step. */
export function addRun(program: Command, app: App): void {
  const command = addCreateFlags(program.command("run"))
    .description("run a pod, create a container in it and start it; prints the container's id")
    .argument("[container-config]", "JSON or YAML of a ContainerConfig; - for stdin")
    .argument("[pod-config]", "JSON or YAML of a PodSandboxConfig")
    .option("-r, --runtime <handler>", "the runtime handler, as `keelctl runtimes` lists them")
    .action((containerFile: string | undefined, podFile: string | undefined, flags: RunFlags) =>
      app.run(async (session) => {
        if (containerFile === undefined || podFile === undefined)
          return app.missing(command, "name the container's configuration and the pod's");
        const isPulling = wantsPull(flags, !session.settings.disablePullOnRun);
        // Both are read first, so that a mistake in one leaves no pod behind.
        const config = await readContainerConfig(session.io, containerFile);
        const podConfig = await readPodConfig(session.io, podFile);
        const pod = await runPod(session, podConfig, flags.runtime ?? "");
        try {
          const id = await createContainer(session, pod, config, podConfig, { ...flags, isPulling });
          await startContainer(session, id);
          await session.io.stdout.write(`${safeText(id)}\n`);
        } catch (error) {
          throw wrapError(`pod ${pod} runs (\`keelctl rmp -f ${pod}\` removes it), but`, error);
        }
      }),
    );
  addExamples(command, [["keelctl run container.json pod.json", ""]]);
}
