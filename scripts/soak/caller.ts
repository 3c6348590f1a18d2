import { KeyedLock } from "@keelson/base/keyed-lock.ts";
import { Code, codeOf, StatusError } from "@keelson/base/status.ts";
import { type CriClient, createCriClient } from "@keelson/cri/client.ts";
import type { RequestOf, ResponseOf, UnaryCallName } from "@keelson/cri/service.ts";
import type { Ledger } from "./ledger.ts";
import type { Life, SoakNode } from "./soak-node.ts";

/** As long as a kubelet waits for most calls (--runtime-request-timeout). */
const callTimeoutMs = 120_000;

/** How one try of a call ended. */
export type Outcome<N extends UnaryCallName> =
  | { readonly is: "answered"; readonly response: ResponseOf<N> }
  /** The daemon was killed meanwhile. */
  | { readonly is: "cut" }
  /** The client went away. */
  | { readonly is: "left" }
  /** By the daemon. */
  | { readonly is: "refused"; readonly error: unknown };

/** A call that failed and is in the ledger already. */
export class FailureNoted extends Error {}

/** One client: a connection, one call at a time, each call timed and tried again when a kill of the daemon cut it off. */
export class Caller implements Disposable {
  readonly #node: SoakNode;
  readonly #ledger: Ledger;
  readonly #turns = new KeyedLock();
  #client: CriClient | undefined;
  #life: Life | undefined;

  constructor(node: SoakNode, ledger: Ledger) {
    this.#node = node;
    this.#ledger = ledger;
  }

  get ledger(): Ledger {
    return this.#ledger;
  }

  /** Makes a call until it is answered. Any error but those of a kill is a failure; then it throws FailureNoted. */
  async call<N extends UnaryCallName>(name: N, request: RequestOf<N>): Promise<ResponseOf<N>> {
    for (;;) {
      const outcome = await this.attempt(name, request);
      if (outcome.is === "answered") return outcome.response;
      if (outcome.is === "refused") this.fail(name, request, outcome.error);
    }
  }

  /** Makes a call, goes away after some time, and then makes it again, as a kubelet does after its deadline. */
  async callTwice<N extends UnaryCallName>(
    name: N,
    request: RequestOf<N>,
    leaveAfterMs: number,
  ): Promise<ResponseOf<N>> {
    const outcome = await this.attempt(name, request, leaveAfterMs);
    if (outcome.is === "answered") return outcome.response;
    if (outcome.is === "refused") this.fail(name, request, outcome.error);
    return this.call(name, request);
  }

  /** Makes a call once. */
  async attempt<N extends UnaryCallName>(name: N, request: RequestOf<N>, leaveAfterMs?: number): Promise<Outcome<N>> {
    using _ = await this.#turns.acquire("", AbortSignal.timeout(callTimeoutMs * 10));
    const life = await this.#node.life();
    const startedAtMs = performance.now();
    try {
      const deadline = AbortSignal.timeout(Math.ceil(leaveAfterMs ?? callTimeoutMs));
      const response = await this.#connect(life).call(name, request, deadline);
      this.#ledger.answered(name, performance.now() - startedAtMs);
      return { is: "answered", response };
    } catch (error) {
      // When the connection breaks, gRPC has no other codes than these.
      const isBroken = codeOf(error) === Code.Unavailable || codeOf(error) === Code.Cancelled;
      if (isBroken && this.#node.lifeNow !== life) {
        this.#ledger.wasCut();
        return { is: "cut" };
      }
      if (leaveAfterMs !== undefined && codeOf(error) === Code.DeadlineExceeded) {
        this.#ledger.wasLeft();
        return { is: "left" };
      }
      return { is: "refused", error };
    }
  }

  /** Notes a failure and throws FailureNoted. */
  fail(what: string, request: unknown, error: unknown): never {
    this.#ledger.fail(what, request, error);
    throw new FailureNoted(what, { cause: error });
  }

  /** Notes a wrong answer and throws FailureNoted, unless all is well. */
  expect(isRight: boolean, what: string, request: unknown, message: () => string): void {
    if (!isRight) this.fail(what, request, new StatusError(Code.DataLoss, message()));
  }

  [Symbol.dispose](): void {
    this.#client?.close();
  }

  /** Anew for each daemon: gRPC waits longer and longer between its own attempts. */
  #connect(life: Life): CriClient {
    if (this.#life !== life || this.#client === undefined) {
      this.#client?.close();
      this.#client = createCriClient(life.daemon.endpoint);
      this.#life = life;
    }
    return this.#client;
  }
}
