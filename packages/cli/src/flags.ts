import { Command, Option } from "commander";

/** A flag that may be repeated, and takes several values with commas between them, as in crictl. */
export function listOption(flags: string, description: string): Option {
  return new Option(flags, description).argParser((value: string, before: string[] | undefined) => [
    ...(before ?? []),
    ...value.split(","),
  ]);
}

/** The flags of `pods` and `inspectp` that choose pods. */
export function addPodSelection(command: Command): Command {
  return command
    .option("--name <regex>", "pods whose name matches")
    .option("--namespace <regex>", "pods whose namespace matches")
    .option("-s, --state <state>", "pods in this state: ready or notready")
    .addOption(listOption("--label <key=value>", "pods with this label (repeatable)"))
    .option("-l, --latest", "only the newest pod")
    .option("-n, --last <count>", "only the newest pods, this many; 0 for all");
}

/** The flags of `ps`, `inspect` and `exec` that choose containers. `state` has a short form in the first two only. */
export function addContainerSelection(command: Command, stateFlags = "-s, --state <state>"): Command {
  return command
    .option("--name <regex>", "containers whose name matches")
    .option("-p, --pod <id>", "containers of this pod")
    .option("--image <image>", "containers of this image, by any of its names or its id")
    .option(stateFlags, "containers in this state: created, running, exited or unknown")
    .addOption(listOption("--label <key=value>", "containers with this label (repeatable)"))
    .option("-l, --latest", "only the newest container, in any state")
    .option("-n, --last <count>", "only the newest containers, this many, in any state; 0 for all");
}

/** The flags of `pull`, `create` and `run` about the registry. */
export function addPullFlags(command: Command): Command {
  return command
    .option("--creds <user[:password]>", "credentials for the registry (or CRICTL_CREDS)")
    .option("--auth <base64>", "base64 of user[:password] for the registry (or CRICTL_AUTH)")
    .option("-u, --username <user>", "user at the registry; the password is asked for")
    .option("--pt, --pull-timeout <duration>", "give up pulling after this time, such as 90s (or CRICTL_PULL_TIMEOUT)");
}

/** The flags of `exec`, `attach` and `port-forward` for reaching the streaming server. */
export function addStreamFlags(command: Command): Command {
  return command
    .option("-r, --transport <name>", "spdy or websocket", "spdy")
    .option("--tls-sni <name>", "name in the server's certificate, if it is not the address's")
    .option("--tls-server-name <name>", "the same")
    .option(
      "--tls-ca <file>",
      "certificates to check the server's against; without it a server on a loopback address is not checked",
    )
    .option("--tls-cert <file>", "certificate for the server to check")
    .option("--tls-key <file>", "its key");
}

/** Examples at the end of a command's help: a command line and what it does. */
export function addExamples(command: Command, examples: readonly (readonly [line: string, does: string])[]): Command {
  const width = Math.max(...examples.map(([line]) => line.length)) + 2;
  return command.addHelpText(
    "after",
    `\nExamples:\n${examples.map(([line, does]) => `  ${line.padEnd(width)}# ${does}`).join("\n")}`,
  );
}
