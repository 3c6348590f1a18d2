import type { ContainerConfig, KeyValue } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { ImageConfig } from "@keelson/oci/image-spec/config.ts";
import type { ProcessSpec } from "@keelson/oci/runtime-spec/spec.ts";
import { cleanPath } from "./clean-path.ts";
import { checkNoNul, checkSingleLine, invalidField, quote } from "./field-check.ts";

/** The part of an image's configuration that planning uses. Empty means "not set". */
export type ImageDefaults = Readonly<
  Pick<ImageConfig, "user" | "env" | "entrypoint" | "cmd" | "workingDir" | "stopSignal" | "volumes">
>;

/** Docker's default. */
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/**
 * What is executed. `command` replaces the image's Entrypoint and Cmd, `args` replaces Cmd (Kubernetes: "Define a
 * command and arguments for a container"). Throws InvalidArgument when there is nothing to run.
 */
export function planArgs(config: Pick<ContainerConfig, "command" | "args">, image: ImageDefaults): string[] {
  config.command.forEach((text, i) => checkNoNul(`command[${i}]`, text));
  config.args.forEach((text, i) => checkNoNul(`args[${i}]`, text));
  const args =
    config.command.length > 0
      ? [...config.command, ...config.args]
      : [...entrypointOf(image), ...(config.args.length > 0 ? config.args : image.cmd)];
  if (args.length === 0)
    throw invalidField(
      "command",
      "is missing, and the image has neither Entrypoint nor Cmd; say what the container is to run",
    );
  return args;
}

/**
 * The environment, `KEY=VALUE`: a default PATH, TERM with a terminal, HOSTNAME, then the image's variables, then the
 * config's; later ones replace earlier ones. Throws InvalidArgument for a key that is empty or contains `=`, for NUL
 * and for values that are not UTF-8 (config.json is UTF-8).
 */
export function planEnv(
  config: Pick<ContainerConfig, "envs" | "tty">,
  image: ImageDefaults,
  hostname: string,
): string[] {
  const env = new Map<string, string>([["PATH", defaultPath]]);
  if (config.tty) env.set("TERM", "xterm");
  env.set("HOSTNAME", hostname);
  for (const entry of image.env) {
    const at = entry.indexOf("=");
    // A process could not look up a variable without a key.
    if (at > 0) env.set(entry.slice(0, at), entry.slice(at + 1));
  }
  config.envs.forEach((entry, i) => env.set(checkKey(`envs[${i}].key`, entry.key), valueOf(`envs[${i}].value`, entry)));
  return [...env].map(([key, value]) => `${key}=${value}`);
}

/**
 * The working directory: the config's, which must be absolute, else the image's, else `/`. Runtimes create it when it
 * does not exist. Throws InvalidArgument.
 */
export function planCwd(workingDir: string, image: ImageDefaults): string {
  if (workingDir === "") return cleanPath(image.workingDir);
  checkSingleLine("working_dir", workingDir, 4095);
  if (!workingDir.startsWith("/")) throw invalidField("working_dir", `${quote(workingDir)} must be an absolute path`);
  return cleanPath(workingDir);
}

/**
 * The process of an exec in a container: like the container's own, with the same user, groups, capabilities and
 * profiles (CRI: Exec, ExecSync). Throws InvalidArgument for an empty command.
 */
export function execProcess(container: ProcessSpec, command: readonly string[], tty: boolean): ProcessSpec {
  if (command.length === 0) throw invalidField("cmd", "is missing; say what to run in the container");
  command.forEach((text, i) => checkNoNul(`cmd[${i}]`, text));
  const { consoleSize: _, terminal: __, ...rest } = container;
  const env = rest.env ?? [];
  const hasTerm = env.some((entry) => entry.startsWith("TERM="));
  return { ...rest, args: [...command], terminal: tty, env: tty && !hasTerm ? [...env, "TERM=xterm"] : env };
}

/** A Dockerfile removes a base image's entrypoint by setting it to `[""]`. */
function entrypointOf(image: ImageDefaults): readonly string[] {
  return image.entrypoint.length === 1 && image.entrypoint[0] === "" ? [] : image.entrypoint;
}

function checkKey(field: string, key: string): string {
  if (key === "" || key.includes("="))
    throw invalidField(field, `${quote(key)} must not be empty or have an equals sign`);
  checkNoNul(field, key);
  return key;
}

function valueOf(field: string, entry: KeyValue): string {
  try {
    const value = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(entry.value);
    checkNoNul(field, value);
    return value;
  } catch (error) {
    if (error instanceof TypeError)
      throw invalidField(
        field,
        `of ${quote(entry.key)} is not UTF-8, and the runtime's configuration can hold nothing else`,
      );
    throw error;
  }
}
