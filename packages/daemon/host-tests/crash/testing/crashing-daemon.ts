/**
 * keelsond with crash points, for the crash tests: `crashing-daemon.ts CONFIG`. It loads, says so, and starts when it
 * reads a line from its stdin: so a test has the next one ready when one dies. KEELSON_CRASH_BOOT_ID is the boot id to
 * believe in; set-clock.ts has its time of day.
 */
import "./set-clock.ts";
// Before the daemon: what it changes are functions that the daemon imports.
import "./crash-points.ts";
import { readSync, writeSync } from "node:fs";
import { flushCompileCache } from "node:module";
import type { Log } from "@keelson/base/log.ts";
import { Engine } from "@keelson/engine/engine.ts";
import type { Parts } from "@keelson/engine/join-parts.ts";
import { openParts } from "@keelson/engine/open-parts.ts";
import { Runtimes } from "@keelson/runtimes/runtimes.ts";
import { pino } from "pino";
import { engineSettings } from "../../../src/config/engine-settings.ts";
import { loadConfig } from "../../../src/config/load.ts";
import type { Config } from "../../../src/config/schema.ts";
import { type Daemon, openSurroundings, serve } from "../../../src/daemon.ts";
import { traced } from "./crash-points.ts";

function withCrashPoints(parts: Parts): Parts {
  const handlers = parts.runtimes.all().map((handler) => ({ ...handler, runtime: traced("runtime", handler.runtime) }));
  return {
    ...parts,
    bootId: process.env["KEELSON_CRASH_BOOT_ID"] ?? parts.bootId,
    pods: traced("pods", parts.pods),
    containers: traced("containers", parts.containers),
    podHost: traced("podHost", parts.podHost),
    containerHost: traced("containerHost", parts.containerHost),
    runtimes: new Runtimes(handlers, parts.runtimes.defaultName),
    network: traced("network", parts.network),
    images: traced("images", parts.images),
    puller: traced("puller", parts.puller),
  };
}

/** As startDaemon, with crash points in the engine's parts. */
async function start(config: Config, log: Log): Promise<Daemon> {
  await using closing = new AsyncDisposableStack();
  const surroundings = await openSurroundings(config, log, closing);
  const engineClosing = new AsyncDisposableStack();
  const parts = await openParts(engineSettings(config), surroundings, engineClosing);
  const engine = closing.use(new Engine(withCrashPoints(parts), engineClosing));
  await engine.recover();
  return await serve(engine, config, surroundings, closing.move());
}

const config = loadConfig(process.argv[2]);
flushCompileCache(); // Node would do it at the end, and this process dies before
writeSync(1, "loaded\n");
// The test that holds the other end may go without a word.
if (readSync(0, Buffer.alloc(16)) === 0) process.exit(0);
const log = pino(
  { name: "keelsond", level: "debug", timestamp: pino.stdTimeFunctions.isoTime },
  pino.destination({ fd: 2, sync: true }),
);
for (const event of ["uncaughtException", "unhandledRejection"] as const) {
  process.on(event, (error) => {
    log.fatal({ err: error }, event);
    process.exit(70);
  });
}
const daemon = await start(config, log);
process.once("SIGTERM", () => void daemon.close(10_000).finally(() => process.exit(0)));
writeSync(1, "serving\n");
