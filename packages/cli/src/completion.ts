/** What a shell can complete for one command; the name "" is keelctl itself. */
export interface CompletionCommand {
  readonly name: string;
  readonly description: string;
  readonly flags: readonly { readonly flag: string; readonly description: string; readonly takesValue: boolean }[];
  /** The kind of thing that its arguments name. */
  readonly argument: "pod" | "container" | "handler" | undefined;
}

const idsOf = {
  pod: "keelctl pods -q 2>/dev/null",
  container: "keelctl ps -aq 2>/dev/null",
  handler: "keelctl runtimes -q 2>/dev/null",
} as const;

/** For bash 4 and newer. */
export function bashCompletion(commands: readonly CompletionCommand[]): string {
  return `# keelctl completion for bash
_keelctl() {
  local current=\${COMP_WORDS[COMP_CWORD]} command= word skip= i
${commandLoop(commands)}
  case $command in
${cases(commands, (flags, ids) => `      if [[ $current == -* ]]; then COMPREPLY=($(compgen -W ${quote(flags)} -- "$current")); else COMPREPLY=($(compgen -W ${ids} -- "$current")); fi`)}
    *) COMPREPLY=() ;;
  esac
}
complete -o default -F _keelctl keelctl
`;
}

/** A function for a directory in fpath, which can also be sourced. */
export function zshCompletion(commands: readonly CompletionCommand[]): string {
  return `#compdef keelctl
# keelctl completion for zsh
_keelctl() {
  local current=$words[CURRENT] command= word skip= i reply
${commandLoop(commands).replaceAll("${COMP_WORDS[i]}", "$words[i+1]").replaceAll("COMP_CWORD", "CURRENT - 1")}
  case $command in
${cases(commands, (flags, ids) => `      if [[ $current == -* ]]; then compadd -- ${flags}; else reply=(\${=\${:-${ids}}}); if (( $#reply )); then compadd -- $reply; else _files; fi; fi`)}
    *) _files ;;
  esac
}
if [[ \${funcstack[1]} == _keelctl ]]; then _keelctl "$@"; else compdef _keelctl keelctl; fi
`;
}

/** For fish 3 and newer. */
export function fishCompletion(commands: readonly CompletionCommand[]): string {
  const names = commands.filter(({ name }) => name !== "").map(({ name }) => name);
  const lines = commands.flatMap(({ name, description, flags, argument }) => {
    const when =
      name === "" ? `not __fish_seen_subcommand_from ${names.join(" ")}` : `__fish_seen_subcommand_from ${name}`;
    const start = `complete -c keelctl -n ${quote(when)}`;
    return [
      ...(name === ""
        ? []
        : [
            `complete -c keelctl -n ${quote(`not __fish_seen_subcommand_from ${names.join(" ")}`)} -f -a ${name} -d ${quote(description)}`,
          ]),
      ...flags.map(
        ({ flag, description: does, takesValue }) =>
          `${start} ${fishFlag(flag)} -d ${quote(does)}${takesValue ? " -r" : ""}`,
      ),
      ...(argument === undefined ? [] : [`${start} -f -a ${quote(`(${idsOf[argument]})`)}`]),
    ];
  });
  return `# keelctl completion for fish\n${lines.join("\n")}\n`;
}

function fishFlag(flag: string): string {
  if (flag.startsWith("--")) return `-l ${flag.slice(2)}`;
  return `${flag.length === 2 ? "-s" : "-o"} ${flag.slice(1)}`;
}

/** Finds the command among the words before the current one, past the global flags and their values. */
function commandLoop(commands: readonly CompletionCommand[]): string {
  const withValue = commands[0]!.flags.filter(({ takesValue }) => takesValue).map(({ flag }) => flag);
  return `  for ((i = 1; i < COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    if [[ -n $skip ]]; then skip=; continue; fi
    case $word in
      ${withValue.join("|")}) skip=1 ;;
      -*) ;;
      *) command=$word; break ;;
    esac
  done`;
}

function cases(commands: readonly CompletionCommand[], reply: (flags: string, ids: string) => string): string {
  const names = commands.filter(({ name }) => name !== "").map(({ name }) => name);
  return commands
    .map(({ name, flags, argument }) => {
      const ids = name === "" ? quote(names.join(" ")) : argument === undefined ? "''" : `"$(${idsOf[argument]})"`;
      return `    ${name === "" ? "''" : name})\n${reply(flags.map(({ flag }) => flag).join(" "), ids)}\n      ;;`;
    })
    .join("\n");
}

function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
