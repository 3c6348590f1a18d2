import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import { type AddressInfo, isIPv6 } from "node:net";
import { http } from "@keelson/base/http.ts";
import { messageOf } from "@keelson/base/status.ts";

export interface MetricsServer extends AsyncDisposable {
  /** Where it listens. The port is the chosen one if port 0 was requested. */
  readonly url: string;
}

/** Enough for a scraper and a curious operator; further connections are refused. */
const maxConnections = 16;
const requestTimeoutMs = 5000;

/**
 * Serves `GET /metrics` over HTTP. Rejects when it cannot listen there.
 *
 * @param text returns the metrics in Prometheus' text format; called for each request.
 */
export async function serveMetrics(
  { host, port }: { host: string; port: number },
  text: () => Promise<string>,
): Promise<MetricsServer> {
  const server = http.createServer(
    { requestTimeout: requestTimeoutMs, headersTimeout: requestTimeoutMs, keepAliveTimeout: requestTimeoutMs },
    (req, res) => void answer(req, res, text),
  );
  server.maxConnections = maxConnections;
  server.listen(port, host);
  await once(server, "listening");
  // Only the CRI keeps the daemon running.
  server.unref();
  const { port: actual } = server.address() as AddressInfo;
  return {
    url: `http://${isIPv6(host) ? `[${host}]` : host}:${actual}/metrics`,
    async [Symbol.asyncDispose]() {
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

async function answer(req: IncomingMessage, res: ServerResponse, text: () => Promise<string>): Promise<void> {
  const path = req.url?.split("?", 1)[0];
  if (path !== "/metrics")
    return void res.writeHead(404, { "content-type": "text/plain" }).end("metrics are at /metrics\n");
  if (req.method !== "GET" && req.method !== "HEAD") return void res.writeHead(405, { allow: "GET, HEAD" }).end();
  try {
    const body = await text();
    res
      .writeHead(200, { "content-type": "text/plain; version=0.0.4; charset=utf-8" })
      .end(req.method === "HEAD" ? undefined : body);
  } catch (error) {
    res.writeHead(500, { "content-type": "text/plain" }).end(`${messageOf(error)}\n`);
  }
}
