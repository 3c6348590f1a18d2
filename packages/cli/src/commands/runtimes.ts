import { Code, StatusError } from "@keelson/base/status.ts";
import { StatusRequest } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Command } from "commander";
import type { App } from "../app.ts";
import { addExamples } from "../flags.ts";
import { checkHandler, type CheckResult, failed, removeAbandoned } from "../handlers/check-handler.ts";
import { defaultCheckImage, openCheckImage } from "../handlers/check-image.ts";
import { type HandlerView, readHandlers } from "../handlers/read-handlers.ts";
import { formatDocument, type Json, outputFormat } from "../output/document.ts";
import { safeText } from "../output/safe-text.ts";
import { formatTable } from "../output/table.ts";
import type { Session } from "../session.ts";

interface RuntimesFlags {
  output: string;
  quiet?: boolean;
  check?: boolean;
  image?: string;
}

/** `runtimes`: the runtime handlers, and whether they work. */
export function addRuntimes(program: Command, app: App): void {
  const command = program
    .command("runtimes")
    .description("list the runtime handlers that a RuntimeClass can name; with --check try each")
    .argument("[handler...]", "only these")
    .option("-o, --output <format>", "table, json or yaml", "table")
    .option("-q, --quiet", "only the names")
    .option("--check", "run a pod with a container by each, remove it again, and report how it went")
    .option(
      "--image <image>",
      `for --check: an image with sleep and uname; without it a busybox that the runtime has, else ${defaultCheckImage}`,
    )
    .action((names: string[], flags: RuntimesFlags) =>
      app.run(async (session) => {
        const format = outputFormat(flags.output, ["table", "json", "yaml"]);
        const handlers = await selectHandlers(session, names);
        if (flags.quiet === true)
          return session.io.stdout.write(handlers.map(({ name }) => `${safeText(name)}\n`).join(""));
        if (format === "table") await session.io.stdout.write(formatHandlers(handlers));
        const results = new Map<string, CheckResult>();
        if (flags.check === true) {
          for await (const [name, result] of checkAll(session, handlers, flags.image)) {
            results.set(name, result);
            if (format === "table")
              await session.io.stdout.write(
                `${results.size === 1 ? "\n" : ""}${safeText(`${name || "(default)"}: ${resultText(result)}`)}\n`,
              );
          }
        }
        if (format !== "table")
          await session.io.stdout.write(
            formatDocument(
              { runtimes: handlers.map((handler) => handlerJson(handler, results.get(handler.name))) },
              format,
            ),
          );
        return [...results.values()].every((result) => result.ok) ? 0 : 1;
      }),
    );
  addExamples(command, [
    ["keelctl runtimes", "all of them, and what is wrong with them"],
    ["keelctl runtimes --check", "whether each can run a pod; exits with 1 when one cannot"],
    ["keelctl runtimes kata --check --image registry.local/busybox:1", "one of them, with an image of your own"],
    ["keelctl runtimes -o json | jq -r '.runtimes[] | select(.problem != \"\") | .name'", "those with a problem"],
  ]);
}

async function selectHandlers({ runtime }: Session, names: readonly string[]): Promise<HandlerView[]> {
  const all = readHandlers(await runtime.call("status", StatusRequest.fromPartial({ verbose: true })));
  const unknown = names.find((name) => !all.some((handler) => handler.name === name));
  if (unknown !== undefined)
    throw new StatusError(
      Code.NotFound,
      `there is no runtime handler ${unknown}; there are: ${all.map(({ name }) => name || "(default)").join(", ") || "none, the runtime reports no handlers"}`,
    );
  return names.length === 0 ? all : all.filter(({ name }) => names.includes(name));
}

/**
 * One after the other, so that each has the machine to itself. What a check made is removed before its result is given.
 */
async function* checkAll(
  session: Session,
  handlers: readonly HandlerView[],
  named: string | undefined,
): AsyncGenerator<[name: string, result: CheckResult]> {
  await removeAbandoned(session);
  await using image = await openCheckImage(session, named);
  // Some runtimes list no handlers: then only the default one can be tried, without a name.
  for (const { name, problem } of handlers.length === 0 ? [{ name: "", problem: "" }] : handlers) {
    yield [name, problem === "" ? await checkHandler(session, name, image.name) : failed(problem)];
  }
}

/** Features in short forms of the CRI's words: userns, rro. */
function formatHandlers(handlers: readonly HandlerView[]): string {
  const rows = handlers.map((handler) => [
    handler.name === "" ? "(default)" : `${handler.name}${handler.isDefault ? " (default)" : ""}`,
    handler.type || "-",
    handler.version || "-",
    featuresText(handler),
    handler.path || "-",
    handler.problem || "-",
  ]);
  return formatTable(["HANDLER", "TYPE", "VERSION", "FEATURES", "PATH", "PROBLEM"], rows);
}

function featuresText({ features, sandbox }: HandlerView): string {
  const words = [
    ...(features?.userNamespaces === true ? ["userns"] : []),
    ...(features?.recursiveReadOnlyMounts === true ? ["rro"] : []),
    ...(sandbox === "container" ? ["sandbox"] : []),
  ];
  return words.join(",") || "-";
}

function resultText(result: CheckResult): string {
  if (!result.ok)
    return `FAILED: ${result.error}${result.likelyCause === undefined ? "" : `; likely ${result.likelyCause}`}`;
  return `ok: pod ${result.podMs} ms, container ${result.containerMs} ms, exec ${result.execMs} ms; its kernel is ${result.kernel}`;
}

function handlerJson(
  { name, isDefault, type, path, version, sandbox, features, overhead, problem }: HandlerView,
  check: CheckResult | undefined,
): Json {
  return {
    name,
    default: isDefault,
    type,
    path,
    version,
    sandbox,
    ...(features === undefined ? {} : { features: { ...features } }),
    ...(overhead === undefined ? {} : { overhead: { ...overhead } }),
    problem,
    ...(check === undefined ? {} : { check: { ...check } }),
  };
}
