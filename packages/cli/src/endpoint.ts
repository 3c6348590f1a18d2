import { connect } from "node:net";
import { Code, StatusError } from "@keelson/base/status.ts";
import { type Io, note } from "./io.ts";

/** Where a runtime may listen when the user names none; ours first, then crictl's. */
export const usualEndpoints = [
  "unix:///run/keelson/keelson.sock",
  "unix:///run/containerd/containerd.sock",
  "unix:///run/crio/crio.sock",
  "unix:///var/run/cri-dockerd.sock",
] as const;

/** Why nothing answers at a socket: the errno's name, or undefined when something does. */
export type Probe = (endpoint: string) => Promise<string | undefined>;

/** Connects and hangs up. */
export const probeSocket: Probe = (endpoint) =>
  new Promise((resolve) => {
    const socket = connect(endpoint.slice("unix://".length));
    const end = (reason: string | undefined) => {
      socket.destroy();
      resolve(reason);
    };
    socket.setTimeout(1000, () => end("ETIMEDOUT"));
    socket.once("connect", () => end(undefined));
    socket.once("error", (error: NodeJS.ErrnoException) => end(error.code ?? error.message));
  });

/** The first of the usual endpoints that answers; says on stderr when it is not keelsond's. Throws Unavailable. */
export async function findEndpoint(io: Io, probe: Probe = probeSocket): Promise<string> {
  const reasons: string[] = [];
  for (const endpoint of usualEndpoints) {
    const reason = await probe(endpoint);
    if (reason === undefined) {
      if (endpoint !== usualEndpoints[0])
        await note(io, `no runtime was named and keelsond does not answer; using ${endpoint} (name it with -r)`);
      return endpoint;
    }
    reasons.push(reason);
  }
  const denied = usualEndpoints.filter((_, i) => i > 0 && reasons[i] === "EACCES");
  const tail =
    denied.length > 0 ? `; no permission for ${denied.join(", ")} either` : "; no other runtime was found either";
  throw new StatusError(Code.Unavailable, unreachable(usualEndpoints[0], reasons[0]!) + tail);
}

/**
 * Waits until something answers at an endpoint that the user named: tries again up to `maxRetries` times (negative:
 * forever), with pauses from 0.5 to 5 s. Throws Unavailable.
 */
export async function waitForEndpoint(
  io: Io,
  endpoint: string,
  maxRetries: number,
  probe: Probe = probeSocket,
): Promise<void> {
  let pauseMs = 500;
  for (let attempt = 0; ; attempt += 1) {
    const reason = await probe(endpoint);
    if (reason === undefined) return;
    // Waiting does not change permissions.
    if (attempt === maxRetries || reason === "EACCES")
      throw new StatusError(Code.Unavailable, unreachable(endpoint, reason));
    if (attempt === 0 && io.stderr.isTerminal) await note(io, `nothing answers at ${endpoint} yet; trying again`);
    await io.sleep(pauseMs, io.signal);
    pauseMs = Math.min(pauseMs * 2, 5000);
  }
}

/** What is wrong with an endpoint, and what the user can do about it. */
export function unreachable(endpoint: string, reason: string): string {
  const isOurs = endpoint.includes("keelson");
  const daemon = isOurs ? "keelsond" : "the runtime";
  switch (reason) {
    case "ENOENT":
      return `cannot reach ${endpoint}: there is no such socket. Is ${daemon} running? Start it, or name another runtime's socket with -r`;
    case "ECONNREFUSED":
      return `cannot reach ${endpoint}: the socket exists, but nothing listens on it. Is ${daemon} running? Start it again`;
    case "EACCES":
      return `cannot reach ${endpoint}: permission denied. Run keelctl as root`;
    default:
      return `cannot reach ${endpoint}: ${reason}. Is ${daemon} running, and is this its CRI socket?`;
  }
}
