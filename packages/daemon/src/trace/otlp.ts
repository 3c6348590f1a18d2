import { createHash, randomBytes } from "node:crypto";
import type { Log } from "@keelson/base/log.ts";
import { messageOf } from "@keelson/base/status.ts";
import type { OperationRecord } from "@keelson/engine/operations.ts";

export interface OtlpOptions {
  /** The collector's address, such as `http://127.0.0.1:4318`. */
  endpoint: string;
  version: string;
  log: Log;
  /** Called with the number of spans that were dropped because the collector accepts none. */
  onDropped(count: number): void;
  /** `fetch`, or a fake. */
  post?: (url: string, body: string, signal: AbortSignal) => Promise<number>;
}

/** How many spans may wait for the collector. */
const maxWaiting = 4096;
/** Spans in one request. */
const batchSize = 512;
const periodMs = 5000;
const timeoutMs = 10_000;

/** OTLP's SpanKind and StatusCode. */
const spanKindServer = 2;
const spanKindInternal = 1;
const statusError = 2;

interface Span {
  traceId: string;
  spanId: string;
  parentSpanId?: string;
  name: string;
  kind: number;
  startTimeUnixNano: string;
  endTimeUnixNano: string;
  attributes?: Attribute[];
  status?: { code: number; message: string };
}

interface Attribute {
  key: string;
  value: { stringValue: string };
}

/**
 * Sends operations as spans to an OpenTelemetry collector: OTLP over HTTP with JSON
 * (https://opentelemetry.io/docs/specs/otlp/). An operation is a child span of its client's span, its stages are
 * children of that, and what they were busy with children of those. A collector that is slow or down costs nothing but
 * spans.
 */
export class OtlpExporter implements AsyncDisposable {
  readonly #o: OtlpOptions;
  readonly #waiting: Span[] = [];
  readonly #timer: NodeJS.Timeout;
  #sending: Promise<void> | undefined;
  #isFailing = false;

  constructor(options: OtlpOptions) {
    this.#o = options;
    this.#timer = setInterval(() => void this.flush(), periodMs).unref();
  }

  /** @param context the client's `traceparent`. */
  add(operation: OperationRecord, context: string | undefined): void {
    const spans = spansOf(operation, context);
    const room = maxWaiting - this.#waiting.length;
    this.#waiting.push(...spans.slice(0, room));
    if (spans.length > room) this.#o.onDropped(spans.length - room);
    if (this.#waiting.length >= batchSize) void this.flush();
  }

  /** Sends the waiting spans. Never rejects. */
  flush(): Promise<void> {
    this.#sending ??= this.#sendAll().finally(() => (this.#sending = undefined));
    return this.#sending;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    await this.flush();
  }

  async #sendAll(): Promise<void> {
    while (this.#waiting.length > 0) {
      const batch = this.#waiting.splice(0, batchSize);
      if (!(await this.#send(batch))) return this.#o.onDropped(batch.length);
    }
  }

  async #send(spans: readonly Span[]): Promise<boolean> {
    const { endpoint, version, log, post = postJson } = this.#o;
    const url = `${endpoint.replace(/\/$/, "")}/v1/traces`;
    const resource = { attributes: [attribute("service.name", "keelsond"), attribute("service.version", version)] };
    const body = JSON.stringify({
      resourceSpans: [{ resource, scopeSpans: [{ scope: { name: "keelsond", version }, spans }] }],
    });
    try {
      const status = await post(url, body, AbortSignal.timeout(timeoutMs));
      if (status < 200 || status > 299) throw new Error(`it answered with HTTP ${status}`);
      if (this.#isFailing) log.info({ url }, "the collector accepts spans again");
      this.#isFailing = false;
      return true;
    } catch (error) {
      // Logged once, not for each batch.
      if (!this.#isFailing)
        log.warn(
          { url },
          `the collector does not accept spans: ${messageOf(error)}; start it, or correct tracing.endpoint`,
        );
      this.#isFailing = true;
      return false;
    }
  }
}

async function postJson(url: string, body: string, signal: AbortSignal): Promise<number> {
  const response = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body,
    signal,
    redirect: "error",
  });
  await response.body?.cancel();
  return response.status;
}

/** The spans of an operation. Its trace is the client's; without one, all operations of a pod are one trace. */
export function spansOf(operation: OperationRecord, context: string | undefined): Span[] {
  const [, traceId, parentSpanId] = context?.split("-") ?? [];
  const trace = traceId ?? createHash("sha256").update(`pod ${operation.podUid}`).digest("hex").slice(0, 32);
  const span = (name: string, kind: number, startMs: number, endMs: number, parent?: string): Span => ({
    traceId: trace,
    spanId: randomBytes(8).toString("hex"),
    ...(parent === undefined ? {} : { parentSpanId: parent }),
    name,
    kind,
    startTimeUnixNano: at(operation, startMs),
    endTimeUnixNano: at(operation, endMs),
  });
  const root: Span = {
    ...span(operation.call, spanKindServer, 0, operation.durationMs, parentSpanId),
    attributes: attributesOf(operation),
  };
  if (operation.error !== undefined) root.status = { code: statusError, message: operation.error };
  const below = operation.stages.flatMap((stage) => {
    const own = span(stage.name, spanKindInternal, stage.startMs, stage.endMs, root.spanId);
    return [
      own,
      ...stage.details.map((detail) => span(detail.name, spanKindInternal, detail.startMs, detail.endMs, own.spanId)),
    ];
  });
  return [root, ...below];
}

function attributesOf({ name, podUid, containerId, code }: OperationRecord): Attribute[] {
  return [
    attribute("rpc.system", "grpc"),
    attribute("keelson.name", name),
    attribute("k8s.pod.uid", podUid),
    ...(containerId === undefined ? [] : [attribute("container.id", containerId)]),
    attribute("keelson.code", code ?? ""),
  ];
}

function attribute(key: string, value: string): Attribute {
  return { key, value: { stringValue: value } };
}

function at({ startedAtNs }: OperationRecord, ms: number): string {
  return String(startedAtNs + BigInt(Math.round(ms * 1_000_000)));
}
