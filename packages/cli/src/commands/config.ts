import { readFile } from "node:fs/promises";
import { writeFileAtomic } from "@keelson/base/atomic-file.ts";
import { Code, messageOf, StatusError } from "@keelson/base/status.ts";
import type { Command } from "commander";
import { type Document, parseDocument } from "yaml";
import type { App } from "../app.ts";
import { addExamples, listOption } from "../flags.ts";
import { formatTable } from "../output/table.ts";
import type { Session } from "../session.ts";
import { checkSetting, defaultConfigFile, settingKeys } from "../settings.ts";

interface ConfigFlags {
  get?: string;
  set?: string[];
  list?: boolean;
}

/** The values of keys that are not in the file, as crictl prints them. */
const defaults: Readonly<Record<string, string>> = {
  timeout: "2",
  "max-retries": "3",
  debug: "false",
  "pull-image-on-create": "false",
  "disable-pull-on-run": "false",
};

/** `config`: reads and changes the file of settings that keelctl and crictl share. */
export function addConfig(program: Command, app: App): void {
  const command = program
    .command("config")
    .description("show or change the settings in the configuration file")
    .argument("[key[=value]]", "show this key, or set it")
    .option("--get <key>", "show this key")
    .addOption(listOption("--set <key=value>", "set this key (repeatable)"))
    .option("--list", "show all keys")
    .action((pair: string | undefined, flags: ConfigFlags) => {
      const set = [...(flags.set ?? []), ...(pair?.includes("=") === true ? [pair] : [])];
      const get = flags.get ?? (pair?.includes("=") === false ? pair : undefined);
      if (set.length === 0 && get === undefined && flags.list !== true)
        return app.missing(command, `name a key, or use --list; the keys are ${settingKeys.join(", ")}`);
      return app.run((session) => config(session, program.opts<{ config?: string }>().config, { set, get }));
    });
  addExamples(command, [
    ["keelctl config --list", "the whole file"],
    ["keelctl config runtime-endpoint=unix:///run/keelson/keelson.sock", "for crictl too"],
    ["keelctl -c ~/keel.yaml config --set timeout=10,debug=true", "in another file"],
  ]);
}

async function config(
  { io }: Session,
  named: string | undefined,
  { set, get }: { set: string[]; get: string | undefined },
): Promise<void> {
  const path = named ?? (io.env["CRI_CONFIG_FILE"] || defaultConfigFile);
  const document = await readDocument(path);
  for (const pair of set) setKey(document, pair);
  if (set.length > 0) await write(path, String(document));
  else if (get !== undefined) await io.stdout.write(`${valueOf(document, checkKey(get))}\n`);
  else
    await io.stdout.write(
      formatTable(
        ["KEY", "VALUE"],
        settingKeys.map((key) => [key, valueOf(document, key)]),
      ),
    );
}

/** Keeps the file's comments. */
async function readDocument(path: string): Promise<Document> {
  try {
    const document = parseDocument(await readFile(path, "utf8"));
    if (document.errors.length > 0) throw document.errors[0]!;
    return document;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return parseDocument("");
    throw new StatusError(Code.InvalidArgument, `read the configuration ${path}: ${messageOf(error)}`, error);
  }
}

async function write(path: string, text: string): Promise<void> {
  try {
    await writeFileAtomic(path, text);
  } catch (error) {
    throw new StatusError(Code.PermissionDenied, `write the configuration ${path}: ${messageOf(error)}`, error);
  }
}

function setKey(document: Document, pair: string): void {
  const at = pair.indexOf("=");
  if (at < 1) throw new StatusError(Code.InvalidArgument, `--set ${pair}: must be key=value`);
  const key = checkKey(pair.slice(0, at));
  const text = pair.slice(at + 1);
  const value = /^(true|false)$/.test(text) ? text === "true" : /^-?\d{1,15}$/.test(text) ? Number(text) : text;
  const wrong = checkSetting(key, value);
  if (wrong !== undefined) throw new StatusError(Code.InvalidArgument, `--set ${pair}: ${wrong}`);
  document.set(key, value);
}

function checkKey(key: string): string {
  if (!settingKeys.includes(key))
    throw new StatusError(Code.InvalidArgument, `${key} is not a key; the keys are ${settingKeys.join(", ")}`);
  return key;
}

function valueOf(document: Document, key: string): string {
  const value = document.get(key);
  if (typeof value === "string") return value;
  return typeof value === "number" || typeof value === "boolean" ? String(value) : (defaults[key] ?? "");
}
