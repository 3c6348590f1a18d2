import type { Duplex } from "node:stream";
import { Code, codeOf, messageOf, wrapError } from "@keelson/base/status.ts";
import { PortForwardRequest } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Command } from "commander";
import type { App } from "../app.ts";
import { addExamples, addStreamFlags, listOption } from "../flags.ts";
import { note } from "../io.ts";
import { listen } from "../port-forward/listen.ts";
import { type PortPair, parsePortPair } from "../port-forward/port-pair.ts";
import { openTunnel, type Tunnel } from "../port-forward/tunnel.ts";
import type { Session } from "../session.ts";
import { streamAddress } from "../streaming/remote-command.ts";
import type { TlsFlags } from "../streaming/stream-tls.ts";
import { parseTransport } from "../streaming/transport.ts";

interface PortForwardFlags extends TlsFlags {
  transport: string;
  address?: string[];
}

/** `port-forward`: ports of ours that lead into a pod. */
export function addPortForward(program: Command, app: App): void {
  const command = program
    .command("port-forward")
    .description(
      "listen on ports of this host and pass their connections into a pod, until interrupted or the pod is gone",
    )
    .argument("[pod]", "id or id prefix")
    .argument("[ports...]", "LOCAL:PORT, :PORT for any free port here, or PORT for the same on both sides")
    .addOption(
      listOption(
        "--address <address>",
        "listen on this address instead of localhost (repeatable); 0.0.0.0 lets other hosts in",
      ),
    )
    .action((pod: string | undefined, ports: string[], flags: PortForwardFlags) => {
      if (pod === undefined || ports.length === 0)
        return app.missing(command, pod === undefined ? "name the pod and the ports" : "name the ports");
      return app.run((session) => portForward(session, pod, ports.map(parsePortPair), flags));
    });
  addExamples(addStreamFlags(command), [
    ["keelctl port-forward $POD 8080:80", "localhost:8080 is the pod's port 80"],
    ["keelctl port-forward $POD :80 5432", "any port for 80, and 5432 for 5432"],
    ["keelctl port-forward --address 0.0.0.0 $POD 8080:80", "for other hosts too"],
  ]);
}

async function portForward(session: Session, pod: string, pairs: PortPair[], flags: PortForwardFlags): Promise<number> {
  const { io } = session;
  const ended = Promise.withResolvers<void>();
  const stop = () => ended.resolve();
  if (io.signal.aborted) stop();
  io.signal.addEventListener("abort", stop, { once: true });
  using cleanup = new DisposableStack();
  cleanup.defer(() => io.signal.removeEventListener("abort", stop));
  const tunnels = cleanup.use(new Tunnels(session, pod, pairs, flags));
  // Before anyone connects, so that what is wrong with the pod is reported now and not to the first client.
  await tunnels.open();
  const clients = new Set<Duplex>();
  cleanup.defer(() => clients.forEach((client) => client.destroy()));
  for (const { localPort, podPort } of pairs) {
    const listener = await listen(flags.address ?? ["localhost"], localPort, (client) => {
      clients.add(client);
      client.once("close", () => clients.delete(client));
      void forwardOne(session, tunnels, client, podPort).catch(ended.reject);
    });
    cleanup.use(listener);
    for (const address of listener.addresses) await io.stdout.write(`Forwarding from ${address} -> ${podPort}\n`);
  }
  await ended.promise;
  return 0;
}

/** Forwards one connection. Its failure is reported and does not end the others. Throws when the pod is gone. */
async function forwardOne({ io }: Session, tunnels: Tunnels, client: Duplex, podPort: number): Promise<void> {
  client.on("error", () => {});
  let tunnel: Tunnel;
  try {
    tunnel = await tunnels.open();
  } catch (error) {
    client.destroy();
    if (codeOf(error) === Code.NotFound || codeOf(error) === Code.FailedPrecondition) throw error;
    if (!io.signal.aborted) await note(io, messageOf(error));
    return;
  }
  try {
    await tunnel.forward(client, podPort);
  } catch (error) {
    client.destroy();
    if (!io.signal.aborted) await note(io, `a connection to port ${podPort}: ${messageOf(error)}`);
  }
}

/** The tunnel into the pod, made again when it is lost, as after a restart of the runtime. */
class Tunnels implements Disposable {
  readonly #session: Session;
  readonly #pod: string;
  readonly #pairs: readonly PortPair[];
  readonly #flags: PortForwardFlags;
  #tunnel: Promise<Tunnel> | undefined;

  constructor(session: Session, pod: string, pairs: readonly PortPair[], flags: PortForwardFlags) {
    this.#session = session;
    this.#pod = pod;
    this.#pairs = pairs;
    this.#flags = flags;
  }

  /** The one that is open, or a new one. */
  async open(): Promise<Tunnel> {
    const before = this.#tunnel;
    const tunnel = await before?.catch(() => undefined);
    if (tunnel !== undefined && !tunnel.isOver) return tunnel;
    // Another connection may have begun a new one meanwhile.
    if (this.#tunnel === before) this.#tunnel = this.#make();
    return await this.#tunnel!;
  }

  async #make(): Promise<Tunnel> {
    const { runtime, io } = this.#session;
    try {
      const port = this.#pairs.map(({ podPort }) => podPort);
      const { url } = await runtime.call(
        "portForward",
        PortForwardRequest.fromPartial({ podSandboxId: this.#pod, port }),
      );
      return await openTunnel(await streamAddress(url, this.#flags, io.signal), parseTransport(this.#flags.transport));
    } catch (error) {
      if (io.signal.aborted) throw error;
      throw wrapError(`forward ports to pod ${this.#pod}`, error);
    }
  }

  [Symbol.dispose](): void {
    void this.#tunnel?.then(
      (tunnel) => tunnel[Symbol.dispose](),
      () => {},
    );
  }
}
