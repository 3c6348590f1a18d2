import { UpdateRuntimeConfigRequest } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Command } from "commander";
import type { App } from "../app.ts";
import { addExamples } from "../flags.ts";

/** `update-runtime-config`: gives the runtime the settings that a kubelet would. */
export function addUpdateRuntimeConfig(program: Command, app: App): void {
  const command = program
    .command("update-runtime-config")
    .description("tell the runtime which addresses pods get, as a kubelet does")
    .requiredOption(
      "-p, --pod-cidr <cidr>",
      "the node's range, such as 10.244.1.0/24; for IPv4 and IPv6 two with a comma between them",
    )
    .action((flags: { podCidr: string }) =>
      app.run(async ({ runtime }) => {
        await runtime.call(
          "updateRuntimeConfig",
          UpdateRuntimeConfigRequest.fromPartial({ runtimeConfig: { networkConfig: { podCidr: flags.podCidr } } }),
        );
      }),
    );
  addExamples(command, [["keelctl update-runtime-config --pod-cidr 10.244.1.0/24", "for a network template"]]);
}
