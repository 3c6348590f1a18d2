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
  /** The daemon was killed during the call. */
  | { readonly is: "cut" }
  /** The client went away. */
  | { readonly is: "left" }
  /** The daemon answered with an error. */
  | { readonly is: "refused"; readonly error: unknown };

/** Thrown for a failure that is in the ledger already. */
export class FailureNoted extends Error {}

/**
 * One client: one connection, one call at a time. Calls are timed, and repeated when a kill of the daemon cut them off.
 */
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

  /**
   * Makes a call until it is answered. Any error except those of a kill is a failure, for which it throws FailureNoted.
   */
  async call<N extends UnaryCallName>(name: N, request: RequestOf<N>): Promise<ResponseOf<N>> {
    for (;;) {
      const outcome = await this.attempt(name, request);
      if (outcome.is === "answered") return outcome.response;
      if (outcome.is === "refused") this.fail(name, request, outcome.error);
    }
  }

  /** Makes a call, goes away after some time, and makes it again, like a kubelet after its deadline. */
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
      // These are the only codes that gRPC has for a broken connection.
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

  /** Records a failure and throws FailureNoted. */
  fail(what: string, request: unknown, error: unknown): never {
    this.#ledger.fail(what, request, error);
    throw new FailureNoted(what, { cause: error });
  }

  /** Records a wrong answer and throws FailureNoted, unless `isRight`. */
  expect(isRight: boolean, what: string, request: unknown, message: () => string): void {
    if (!isRight) this.fail(what, request, new StatusError(Code.DataLoss, message()));
  }

  [Symbol.dispose](): void {
    this.#client?.close();
  }

  /** A new connection for each daemon, because gRPC waits longer and longer between its own attempts. */
  #connect(life: Life): CriClient {
    if (this.#life !== life || this.#client === undefined) {
      this.#client?.close();
      this.#client = createCriClient(life.daemon.endpoint);
      this.#life = life;
    }
    return this.#client;
  }
}
