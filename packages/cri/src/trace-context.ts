const contexts = new WeakMap<AbortSignal, string>();

/** The W3C `traceparent` that the client of a call has sent, found by the signal that the call's handler got. */
export function traceContextOf(signal: AbortSignal): string | undefined {
  return contexts.get(signal);
}

/** Records the trace context of a call, if it is a `traceparent` of version 0. */
export function recordTraceContext(signal: AbortSignal, context: unknown): void {
  if (typeof context === "string" && /^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/.test(context))
    contexts.set(signal, context);
}
