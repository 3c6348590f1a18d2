/**
 * Points at which this process kills itself with SIGKILL: before and after each change that it makes to files,
 * records, mounts, namespaces and processes. To be imported before the daemon, whose source knows nothing of it: what
 * is changed here are Node's and the addon's own functions.
 *
 * From the moment that the file `arm` is in the directory KEELSON_CRASH_DIR, the process dies at the first point that
 * is not one of the lines of that file, and writes its name to `died`: what goes on at the same time has another order
 * each time, and so no point is left out for it. The first line of `arm` is another one in each file. Without
 * KEELSON_CRASH=every-step it is one point in each effect, and each tool that is started.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import fs from "node:fs";
import fsPromises from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import { basename } from "node:path";
import { StatementSync } from "node:sqlite";
import { native } from "@keelson/linux/native.ts";

type AnyFunction = (...args: never[]) => unknown;

const { existsSync, readFileSync, openSync, writeSync, fsyncSync, closeSync } = fs;
const dir = process.env["KEELSON_CRASH_DIR"] ?? "";
const armFile = `${dir}/arm`;
const effect = new AsyncLocalStorage<string>();

/** Otherwise one point in each effect, and each tool that is started. */
const isEveryStep = process.env["KEELSON_CRASH"] === "every-step";
/** How often a point of the same name counts as another one. */
const maxOccurrences = 3;

interface Order {
  readonly text: string;
  readonly done: ReadonlySet<string>;
  readonly seen: Map<string, number>;
  last: string;
}

let order: Order | undefined;
/** Something goes on by itself since the last point: the one before the next step is another moment. */
let isSomethingUnderWay = true;

/** Names the effects of a part of Deps, so that a point can be told by the effect that it is in. */
export function traced<T extends object>(part: string, target: T): T {
  return new Proxy(target, {
    get(_, name) {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== "function") return value;
      return (...args: unknown[]): unknown => {
        const run = () => Reflect.apply(value, target, args) as unknown;
        return effect.getStore() === undefined ? effect.run(`${part}.${String(name)}`, run) : run();
      };
    },
  });
}

function before(name: string): void {
  if (isSomethingUnderWay || orderNow()?.last === "") point(`before ${name}`);
  isSomethingUnderWay = false;
}

function after(name: string): void {
  point(name);
  isSomethingUnderWay = /^(spawn|signal|unpack)/.test(name);
}

function point(name: string): void {
  const current = orderNow();
  if (current === undefined) return;
  const within = effect.getStore();
  const label = within === undefined ? name : `${within}: ${name}`;
  // One cgroup in a dozen hierarchies, say, is one step.
  if (label === current.last) return;
  current.last = label;
  if (!isEveryStep) {
    if (!isDone(label, name, within, current.done)) die(label);
    return;
  }
  const occurrence = (current.seen.get(label) ?? 0) + 1;
  current.seen.set(label, occurrence);
  if (occurrence > maxOccurrences) return;
  const numbered = occurrence === 1 ? label : `${label} (${occurrence})`;
  if (!current.done.has(numbered)) die(numbered);
}

/**
 * Whether this point, or another one of the same effect on the machine, was died at before. Each tool counts for itself,
 * and each record, which what follows an effect may write.
 */
function isDone(label: string, name: string, within: string | undefined, done: ReadonlySet<string>): boolean {
  if (done.has(label)) return true;
  const isOneOfMany =
    within !== undefined &&
    /^(podHost|containerHost|network|runtime)\./.test(within) &&
    !/^spawn| record of /.test(name);
  return isOneOfMany && [...done].some((other) => other.startsWith(`${within}: `));
}

function orderNow(): Order | undefined {
  const text = existsSync(armFile) ? readFileSync(armFile, "utf8") : "";
  if (text === "") order = undefined;
  else if (text !== order?.text) order = { text, done: new Set(text.split("\n").slice(1)), seen: new Map(), last: "" };
  return order;
}

function die(label: string): void {
  const fd = openSync(`${dir}/died`, "w");
  writeSync(fd, label);
  fsyncSync(fd);
  closeSync(fd);
  process.kill(process.pid, "SIGKILL");
  for (;;) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
}

function replace<T extends object>(
  owner: T,
  name: keyof T & string,
  nameOf: (...args: unknown[]) => string | undefined,
): void {
  const original = owner[name] as AnyFunction;
  const replaced = function (this: unknown, ...args: unknown[]): unknown {
    const step = nameOf(...args);
    const run = () => Reflect.apply(original, this, args) as unknown;
    if (step === undefined) return run();
    before(step);
    const result = run();
    if (result instanceof Promise) {
      return result.then((value: unknown) => {
        after(step);
        return value;
      });
    }
    after(step);
    return result;
  };
  owner[name] = replaced as T[keyof T & string];
}

/** A path without what differs from one run to the next. */
function shown(path: unknown): string {
  const text = path instanceof Uint8Array ? Buffer.from(path).toString() : String(path);
  return text
    .replace(/^\/run\/keelson-node-\w+\//, "")
    .replace(/^\/proc\/\d+\//, "/proc/PID/")
    .replaceAll(/[0-9a-f]{64}/g, "ID")
    .replaceAll(/layers\/[0-9a-f]{12,}/g, "layers/CHAIN")
    .replaceAll(/(\d+[-.])+\d+(\.tmp)?/g, "TMP");
}

function nameOfPath(verb: string) {
  return (path: unknown, content?: unknown): string | undefined => {
    if (typeof path === "number" || String(path).startsWith(dir)) return undefined;
    if (!String(path).startsWith("/sys/fs/cgroup/")) return `${verb} ${shown(path)}`;
    // In each of a dozen hierarchies.
    return String(path).endsWith("/freezer.state") ? `freezer ${String(content)}` : "change cgroups";
  };
}

function nameOfTarget(verb: string) {
  return (call: unknown): string => `${verb} ${shown((call as { target: unknown }).target)}`;
}

function nameOfSpawn(call: unknown): string {
  const { file, argv, env } = call as Parameters<typeof native.spawn>[0];
  const command = env.find((line) => line.startsWith("CNI_COMMAND="))?.slice("CNI_COMMAND=".length);
  const verb = command ?? argv.slice(1).find((arg) => /^(create|start|update|delete|state|kill|exec)$/.test(arg));
  return ["spawn", basename(file), verb].filter((word) => word !== undefined).join(" ");
}

function nameOfWrite(this: void, sql: string, args: unknown[]): string | undefined {
  const [, verb, table] = /^(INSERT INTO|DELETE FROM) (\w+)/.exec(sql) ?? [];
  if (verb === undefined) return undefined;
  if (verb === "DELETE FROM") return `delete record of ${table}`;
  const { state, isDurable, resizing } = JSON.parse(String(args[1])) as {
    state?: { is: string };
    isDurable?: boolean;
    resizing?: string;
  };
  const what =
    (resizing === undefined ? state?.is : "resizing") ??
    (isDurable === undefined ? "" : isDurable ? "durable" : "unpacked");
  return `put record of ${table}${what === "" ? "" : ` (${what})`}`;
}

if (dir !== "") {
  for (const [name, verb] of [
    ["mkdirSync", "mkdir"],
    ["writeFileSync", "write"],
    ["rmSync", "rm"],
    ["rmdirSync", "rmdir"],
    ["chownSync", "chown"],
    ["chmodSync", "chmod"],
  ] as const) {
    replace(fs, name, nameOfPath(verb));
  }
  replace(fs, "renameSync", (_, to) => `rename to ${shown(to)}`);
  replace(fs, "copyFileSync", (_, to) => `copy to ${shown(to)}`);
  replace(fsPromises, "mkdir", nameOfPath("mkdir"));
  replace(fsPromises, "rm", nameOfPath("rm"));
  replace(fsPromises, "rename", (_, to) => `rename to ${shown(to)}`);
  replace(fsPromises, "open", (path, flags) => (flags === "wx" ? `open new ${shown(path)}` : undefined));
  syncBuiltinESMExports();
  replace(native, "mount", nameOfTarget("mount"));
  replace(native, "bind", nameOfTarget("bind"));
  for (const name of ["unmount", "unmountAsync"] as const) replace(native, name, nameOfPath("unmount"));
  for (const name of ["overlay", "overlayAsync"] as const) replace(native, name, nameOfTarget("mount"));
  for (const name of ["createNamespaces", "createNamespacesAsync"] as const)
    replace(native, name, () => "create namespaces");
  replace(native, "setSysctlsAsync", () => "set sysctls");
  for (const name of ["unpinNamespace", "unpinNamespaceAsync"] as const) replace(native, name, nameOfPath("unpin"));
  for (const name of ["removeTree", "removeTreeAsync"] as const) replace(native, name, nameOfPath("remove tree"));
  replace(native, "spawn", nameOfSpawn);
  replace(native, "pidfdSendSignal", (_, signal) => `signal ${String(signal)}`);
  // oxlint-disable-next-line typescript/unbound-method -- it is given its statement below
  const { run } = StatementSync.prototype;
  StatementSync.prototype.run = function (this: StatementSync, ...args: never[]) {
    const step = nameOfWrite(this.sourceSQL, args);
    if (step === undefined) return Reflect.apply(run, this, args);
    before(step);
    const result = Reflect.apply(run, this, args);
    after(step);
    return result;
  } as typeof run;
}
