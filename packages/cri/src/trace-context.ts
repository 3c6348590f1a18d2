const contexts = new WeakMap<AbortSignal, string>();

/** What the client of a call sent along of its own trace, by the signal that the call's handler got: a W3C `traceparent`. */
export function traceContextOf(signal: AbortSignal): string | undefined {
  return contexts.get(signal);
}

/** Notes the context of a call; one that is no `traceparent` of version 0 is left out. */
export function noteTraceContext(signal: AbortSignal, context: unknown): void {
  if (typeof context === "string" && /^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/.test(context))
    contexts.set(signal, context);
}
