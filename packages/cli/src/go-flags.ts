import type { Command, Option } from "commander";

/**
 * Rewrites the spellings that crictl's Go flags allow and commander does not: `-output json` for
 * `--output json`, and `--all=true` or `--all=false` for switches.
 */
export function rewriteGoFlags(program: Command, args: readonly string[]): string[] {
  const rewritten: string[] = [];
  let command = program;
  for (let i = 0; i < args.length; i += 1) {
    const arg = args[i]!;
    if (arg === "--") return [...rewritten, ...args.slice(i)];
    if (!arg.startsWith("-") || arg === "-") {
      const found =
        command === program
          ? program.commands.find((one) => one.name() === arg || one.aliases().includes(arg))
          : undefined;
      rewritten.push(arg);
      // What comes after the first argument of exec belongs to the command in the container.
      if (found === undefined && (command === program || command.name() === "exec"))
        return [...rewritten, ...args.slice(i + 1)];
      command = found ?? command;
      continue;
    }
    const { option, text } = rewriteFlag(command, arg);
    if (text !== undefined) rewritten.push(text);
    const takesNext =
      option?.required === true && !text!.includes("=") && (text!.startsWith("--") || text!.length === 2);
    if (takesNext && i + 1 < args.length) rewritten.push(args[(i += 1)]!);
  }
  return rewritten;
}

function rewriteFlag(command: Command, arg: string): { option: Option | undefined; text: string | undefined } {
  const [, dashes, name, value] = /^(--?)([^=]+)(=[^]*)?$/.exec(arg) ?? [];
  if (name === undefined) return { option: undefined, text: arg };
  const isShort = dashes === "-" && name.length === 1;
  const option = command.options.find((one) =>
    isShort ? one.short === `-${name}` : one.long === `--${name}` || one.short === `--${name}`,
  );
  // Unknown, or switches in one word (-aq, -n5): commander knows what to do.
  if (option === undefined) return { option, text: arg };
  const spelled = isShort ? `-${name}` : `--${name}`;
  if (option.required)
    return {
      option,
      text: isShort && value !== undefined ? `${spelled}${value.slice(1)}` : `${spelled}${value ?? ""}`,
    };
  if (value === undefined || value === "=true" || value === "=1") return { option, text: spelled };
  return { option, text: value === "=false" || value === "=0" ? undefined : arg };
}
