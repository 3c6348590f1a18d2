import { Code, StatusError } from "@keelson/base/status.ts";
import type { Command } from "commander";
import type { App } from "../app.ts";
import { readContainerConfig, readPodConfig } from "../config-file.ts";
import { createContainer, type CreateFlags } from "../container-steps.ts";
import { addExamples, addPullFlags } from "../flags.ts";
import { safeText } from "../output/safe-text.ts";

/** `create`: makes a container in a pod. */
export function addCreate(program: Command, app: App): void {
  const command = addCreateFlags(program.command("create"))
    .description("create a container in a pod and print its id; `start` starts it")
    .argument("[pod]", "id of the pod")
    .argument("[container-config]", "JSON or YAML of a ContainerConfig; - for stdin")
    .argument("[pod-config]", "the PodSandboxConfig that the pod was run with")
    .action(
      (pod: string | undefined, containerFile: string | undefined, podFile: string | undefined, flags: CreateFlags) =>
        app.run(async (session) => {
          if (pod === undefined || containerFile === undefined || podFile === undefined) {
            return app.missing(command, "name the pod, the container's configuration and the pod's");
          }
          const isPulling = wantsPull(flags, session.settings.pullImageOnCreate);
          const config = await readContainerConfig(session.io, containerFile);
          const podConfig = await readPodConfig(session.io, podFile);
          const id = await createContainer(session, pod, config, podConfig, { ...flags, isPulling });
          return session.io.stdout.write(`${safeText(id)}\n`);
        }),
    );
  addExamples(command, [
    ["keelctl create $POD container.json pod.json", ""],
    ["keelctl create --with-pull $POD container.json pod.json", "pull the image first"],
  ]);
}

/** The flags of `create` and `run`. */
export function addCreateFlags(command: Command): Command {
  return addPullFlags(command)
    .option("--with-pull", "pull the image first")
    .option("--no-pull", "do not pull the image")
    .option("-T, --cancel-timeout <duration>", "give up creating after this time");
}

/** Whether to pull first: the flags, else `byDefault`. */
export function wantsPull(flags: CreateFlags, byDefault: boolean): boolean {
  if (flags.withPull === true && flags.pull === false)
    throw new StatusError(Code.InvalidArgument, "--with-pull and --no-pull are both given; use one of them");
  return flags.withPull === true || (byDefault && flags.pull !== false);
}
