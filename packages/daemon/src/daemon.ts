import type { Log } from "@keelson/base/log.ts";
import { version } from "@keelson/base/version.ts";
import { type CallObserver, createCriServer } from "@keelson/cri/server.ts";
import { type Engine, openEngine } from "@keelson/engine/engine.ts";
import type { Surroundings } from "@keelson/engine/open-parts.ts";
import { StreamingServer } from "@keelson/streaming/server.ts";
import { logCalls } from "./call-log.ts";
import { engineSettings } from "./config/engine-settings.ts";
import type { Config } from "./config/schema.ts";
import { writeDump } from "./dump.ts";
import { DaemonMetrics } from "./metrics/daemon-metrics.ts";
import { serveMetrics } from "./metrics/server.ts";
import { prepareSocket, restrictSocket } from "./socket-file.ts";

export interface Daemon {
  /** Waits up to `graceMs` for calls under way, then drops them. Containers go on running. */
  close(graceMs: number): Promise<void>;
  /** Writes what it is busy with to a file. Returns its path. */
  dump(): string;
}

/** What the daemon adds to an engine: its metrics, its spans, and the server for the URLs of streams. */
export interface DaemonSurroundings extends Surroundings {
  readonly tally: DaemonMetrics;
  readonly streaming: StreamingServer;
}

/** How long clients of exec, attach and port-forward may take to learn that the daemon stops, in ms. */
const streamGraceMs = 2000;

/**
 * Starts the daemon, the only one for its root; it has recovered and listens when this returns. If it cannot start,
 * throws the reason and holds nothing.
 */
export async function startDaemon(config: Config, log: Log): Promise<Daemon> {
  await using closing = new AsyncDisposableStack();
  const surroundings = await openSurroundings(config, log, closing);
  const engine = closing.use(await openEngine(engineSettings(config), surroundings));
  await engine.recover();
  return await serve(engine, config, surroundings, closing.move());
}

/** @param closing disposed of with the daemon. */
export async function openSurroundings(
  config: Config,
  log: Log,
  closing: AsyncDisposableStack,
): Promise<DaemonSurroundings> {
  const tally = new DaemonMetrics();
  const { endpoint } = config.tracing;
  // The exporter is only loaded when it is configured.
  const exporter =
    endpoint === undefined
      ? undefined
      : closing.use(
          new (await import("./trace/otlp.ts")).OtlpExporter({
            endpoint,
            version,
            log,
            onDropped: (count) => tally.dropped("spans", count),
          }),
        );
  return {
    log,
    tally,
    streaming: streamingServer(config, log),
    onOperationEnded: exporter && ((operation, context) => exporter.add(operation, context)),
  };
}

/**
 * Serves a recovered engine on the configured socket, with its metrics and streams. Disposes of `closing` when it is
 * closed, or when it throws.
 */
export async function serve(
  engine: Engine,
  config: Config,
  { log, tally, streaming }: DaemonSurroundings,
  closing: AsyncDisposableStack,
): Promise<Daemon> {
  await using all = closing;
  const socket = config.socket.slice("unix://".length);
  await prepareSocket(socket);
  tally.describe(engine.deps);
  await openMetrics(config, tally, log, all);
  streaming.connect(engine.streams);
  all.defer(() => streaming.close(streamGraceMs));
  const server = createCriServer(engine.calls, both(logCalls(log), tally));
  await server.listen(config.socket);
  restrictSocket(socket);
  // Since the process began, which is what a node waits for.
  log.info({ version, socket: config.socket, root: config.root, ms: Math.round(performance.now()) }, "serving");
  const open = all.move();
  return {
    async close(graceMs) {
      await server.close(graceMs);
      await open.disposeAsync();
    },
    dump: () => writeDump(engine.deps),
  };
}

function both(a: CallObserver, b: CallObserver): CallObserver {
  return {
    started() {
      a.started?.();
      b.started?.();
    },
    ended(call) {
      a.ended(call);
      b.ended(call);
    },
  };
}

/** A port in use must not keep the node from running pods. */
async function openMetrics(
  { metrics }: Config,
  tally: DaemonMetrics,
  log: Log,
  closing: AsyncDisposableStack,
): Promise<void> {
  if (metrics.address === undefined) return;
  try {
    const { url } = closing.use(await serveMetrics(metrics.address, () => tally.text()));
    closing.use(tally.followEventLoop());
    log.info({ url }, "serving metrics");
  } catch (error) {
    log.error(
      { address: metrics.address, err: error },
      "metrics cannot be served; free the address, or set another metrics.address",
    );
  }
}

function streamingServer({ streaming }: Config, log: Log): StreamingServer {
  const {
    address,
    port,
    tls_cert_file: certFile,
    tls_key_file: keyFile,
    idle_timeout: idleS,
    creation_timeout: creationS,
  } = streaming;
  const tls = certFile === undefined || keyFile === undefined ? undefined : { certFile, keyFile };
  return new StreamingServer({
    address,
    port,
    tls,
    idleTimeoutMs: idleS * 1000,
    creationTimeoutMs: creationS * 1000,
    log,
  });
}
