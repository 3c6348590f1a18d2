import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { AttachmentCache } from "../cache.ts";
import type { JsonObject } from "../json.ts";
import type { PluginExit } from "../plugin.ts";

/** One run of a plugin, as the plugin sees it. */
export interface FakeCall {
  readonly type: string;
  readonly command: string;
  readonly env: Readonly<Record<string, string>>;
  readonly config: JsonObject;
}

/** What a fake plugin does; what is not given is success. A promise that never settles is a plugin that hangs. */
export type FakePlugin = (call: FakeCall) => Partial<PluginExit> | Promise<Partial<PluginExit>>;

/**
 * Plugins for tests that are functions in this process, and a cache in a temporary directory. Removed when disposed.
 */
export function makeFakePlugins(plugins: Readonly<Record<string, FakePlugin>>) {
  const dir = mkdtempSync(join(tmpdir(), "keelson-cni-"));
  const binDir = join(dir, "bin");
  mkdirSync(binDir);
  for (const type of Object.keys(plugins)) {
    writeFileSync(join(binDir, type), "");
    chmodSync(join(binDir, type), 0o755);
  }
  const calls: FakeCall[] = [];
  const exec = async (
    { file, env, stdin }: { file: string; env: Readonly<Record<string, string>>; stdin: string },
    signal: AbortSignal,
  ): Promise<PluginExit> => {
    const type = basename(file);
    const call = { type, command: env["CNI_COMMAND"] ?? "", env, config: JSON.parse(stdin) as JsonObject };
    calls.push(call);
    const done = Promise.try(() => plugins[type]?.(call) ?? {});
    const aborted = new Promise<never>((_, reject) => {
      const abort = (): void => reject(signal.reason as Error);
      if (signal.aborted) abort();
      else signal.addEventListener("abort", abort, { once: true });
    });
    return { code: 0, signal: null, stdout: "", stderr: "", ...(await Promise.race([done, aborted])) };
  };
  return {
    dir,
    binDir,
    calls,
    /** `bridge ADD` and so on, in the order of the calls. */
    story: () => calls.map(({ type, command }) => `${type} ${command}`),
    deps: { binDirs: [binDir], exec, cache: new AttachmentCache(dir), cleanupTimeoutMs: 5000 },
    [Symbol.dispose]: () => rmSync(dir, { recursive: true }),
  };
}

/** A plugin's success with this address, or with the previous result. */
export function answer(call: FakeCall, address?: string): Partial<PluginExit> {
  if (call.command !== "ADD") return {};
  const previous = call.config["prevResult"];
  const own = {
    cniVersion: call.config["cniVersion"],
    interfaces: [{ name: "eth0", sandbox: call.env["CNI_NETNS"] }],
    ips: [{ address, interface: 0 }],
  };
  return { stdout: JSON.stringify(address === undefined ? previous : own) };
}
