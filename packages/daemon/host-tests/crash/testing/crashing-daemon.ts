/**
 * keelsond with crash points, for the crash tests: `crashing-daemon.ts CONFIG`. It loads, says so, and starts when it
 * reads a line from its stdin: so a test has the next one ready when one dies. KEELSON_CRASH_BOOT_ID is the boot id to
 * believe in; set-clock.ts has its time of day.
 */
import "./set-clock.ts";
import { readSync, writeSync } from "node:fs";
import { pino } from "pino";
import { traced } from "./crash-points.ts";
import { loadConfig } from "../../../src/config/load.ts";
import { startDaemon } from "../../../src/daemon.ts";
import type { Deps } from "@keelson/engine/deps.ts";
import { Runtimes } from "@keelson/runtimes/runtimes.ts";

function adjusted(d: Deps): Deps {
  const handlers = d.runtimes.all().map((handler) => ({ ...handler, runtime: traced("runtime", handler.runtime) }));
  return {
    ...d,
    bootId: process.env["KEELSON_CRASH_BOOT_ID"] ?? d.bootId,
    pods: traced("pods", d.pods),
    containers: traced("containers", d.containers),
    podHost: traced("podHost", d.podHost),
    containerHost: traced("containerHost", d.containerHost),
    runtimes: new Runtimes(handlers, d.runtimes.defaultName),
    network: traced("network", d.network),
    images: traced("images", d.images),
    puller: traced("puller", d.puller),
  };
}

const config = loadConfig(process.argv[2]);
writeSync(1, "loaded\n");
// The test that holds the other end may go without a word.
if (readSync(0, Buffer.alloc(16)) === 0) process.exit(0);
const log = pino({ name: "keelsond", level: "debug", timestamp: pino.stdTimeFunctions.isoTime }, pino.destination({ fd: 2, sync: true }));
for (const event of ["uncaughtException", "unhandledRejection"] as const) {
  process.on(event, (error) => {
    log.fatal({ err: error }, event);
    process.exit(70);
  });
}
const daemon = await startDaemon(config, log, adjusted);
process.once("SIGTERM", () => void daemon.close(10_000).finally(() => process.exit(0)));
writeSync(1, "serving\n");
