import { Code, StatusError } from "@keelson/base/status.ts";
import type { Command } from "commander";
import type { App } from "../app.ts";
import { bashCompletion, type CompletionCommand, fishCompletion, zshCompletion } from "../completion.ts";
import { addExamples } from "../flags.ts";

const scripts = { bash: bashCompletion, zsh: zshCompletion, fish: fishCompletion } as const;

/** `completion`: a script that completes command lines, made from keelctl's commands. */
export function addCompletion(program: Command, app: App): void {
  const command = program
    .command("completion")
    .description("print a script that lets a shell complete commands, flags and ids")
    .argument("[shell]", "bash, zsh or fish", "bash")
    .action((shell: string) =>
      app.run(async ({ io }) => {
        const script = Object.hasOwn(scripts, shell) ? scripts[shell as keyof typeof scripts] : undefined;
        if (script === undefined)
          throw new StatusError(
            Code.InvalidArgument,
            `completion ${shell}: must be ${Object.keys(scripts).join(", ")}`,
          );
        await io.stdout.write(script(completionCommands(program)));
      }),
    );
  addExamples(command, [
    ["source <(keelctl completion bash)", "for this shell"],
    ["keelctl completion zsh > ~/.zfunc/_keelctl", "where fpath has ~/.zfunc"],
    ["keelctl completion fish > ~/.config/fish/completions/keelctl.fish", "for every new fish"],
  ]);
}

function completionCommands(program: Command): CompletionCommand[] {
  return [program, ...program.commands].map((command) => ({
    name: command === program ? "" : command.name(),
    description: command.description(),
    flags: command.options.flatMap(({ short, long, description, required }) =>
      [short, long]
        .filter((flag) => flag !== undefined && flag !== null)
        .map((flag) => ({ flag, description, takesValue: required })),
    ),
    argument: /^(pod|container|handler)/.exec(
      command.registeredArguments[0]?.name() ?? "",
    )?.[1] as CompletionCommand["argument"],
  }));
}
