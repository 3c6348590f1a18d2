import { RuntimeConfigRequest } from "@keelson/cri/gen/runtime/v1/api.ts";
import { enumName } from "@keelson/cri/json.ts";
import type { Command } from "commander";
import type { App } from "../app.ts";
import { addExamples } from "../flags.ts";
import { formatFields } from "../output/lines.ts";

/** `runtime-config`: what a kubelet asks the runtime for. */
export function addRuntimeConfig(program: Command, app: App): void {
  const command = program
    .command("runtime-config")
    .description("show the configuration that a kubelet takes from the runtime: the cgroup driver")
    .action(() =>
      app.run(async ({ io, runtime }) => {
        const { linux } = await runtime.call("runtimeConfig", RuntimeConfigRequest.fromPartial({}));
        await io.stdout.write(
          formatFields([
            ["cgroup driver", linux === undefined ? "not reported" : enumName("CgroupDriver", linux.cgroupDriver)],
          ]),
        );
      }),
    );
  addExamples(command, [["keelctl runtime-config", "must be the one that the kubelet uses"]]);
}
