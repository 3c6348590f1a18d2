/** What holds for every client's connection. */
export interface ConnectionRules {
  /**
   * Calls `onIdle` when a connection has been idle for too long, until it is disposed of. `touchedAtMs` returns when
   * the last byte came or went, by performance.now().
   */
  readonly watchIdle: (touchedAtMs: () => number, onIdle: () => void) => Disposable;
  /** How long a client may take to open its streams, in ms. */
  readonly creationTimeoutMs: number;
  /** Aborts when the server closes. */
  readonly closing: AbortSignal;
}
