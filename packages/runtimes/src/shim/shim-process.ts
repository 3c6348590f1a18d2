import { rmSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { Code, codeOf, StatusError } from "@keelson/base/status.ts";
import type { ProcessIdentity } from "@keelson/linux/process-identity.ts";
import { signalProcess, watchProcess } from "@keelson/linux/process.ts";
import { isProcessAlive } from "@keelson/linux/procfs.ts";
import { type Bootstrap, socketPathOf } from "@keelson/shim/bootstrap.ts";
import { connectShim, type ShimConnection } from "@keelson/shim/connection.ts";
import type { TaskClient } from "@keelson/shim/task-client.ts";
import { answerTimeoutMs, listenPatienceMs } from "./deadlines.ts";

/**
 * How often a shim with containers is asked for a sign of life, in ms, and how many times in a row it may not answer.
 */
const healthPeriodMs = 10_000;
const maxSilences = 2;

/** Calls for which a machine has to do something. Kata holds one lock for all of such a call, and answers no other. */
const longCalls: ReadonlySet<string> = new Set(["Create", "Start", "Exec", "CloseIO", "Update", "Delete"]);

export interface ShimProcessOptions {
  readonly bootstrap: Bootstrap;
  readonly identity: ProcessIdentity;
  readonly namespace: string;
  /** One that is open already. */
  readonly connection?: ShimConnection;
}

/** A shim that runs, or did: how to reach it, and whether it is still there. It serves the containers of one pod. */
export class ShimProcess implements Disposable {
  readonly bootstrap: Bootstrap;
  readonly identity: ProcessIdentity;
  readonly #namespace: string;
  readonly #listeners = new Set<() => void>();
  readonly #containers = new Set<string>();
  readonly #watch: Disposable;
  #connecting: Promise<ShimConnection> | undefined;
  #health: NodeJS.Timeout | undefined;
  #silences = 0;
  #longCalls = 0;
  #lost: string | undefined;

  constructor({ bootstrap, identity, namespace, connection }: ShimProcessOptions) {
    this.bootstrap = bootstrap;
    this.identity = identity;
    this.#namespace = namespace;
    this.#watch = watchProcess(identity.pid, identity.startTicks, () =>
      this.#lose(`its shim (process ${identity.pid}) has ended or was killed`),
    );
    if (connection !== undefined) void this.#use(Promise.resolve(connection));
  }

  /** Why it cannot be asked anything any more; undefined as long as it can. */
  get lost(): string | undefined {
    return this.#lost ?? (this.isAlive ? undefined : `its shim (process ${this.identity.pid}) has ended or was killed`);
  }

  get isAlive(): boolean {
    return isProcessAlive(this.identity.pid, this.identity.startTicks);
  }

  /** Whether it ends within this time: its connections close a moment before it is gone. */
  async endsWithin(ms: number): Promise<boolean> {
    const until = performance.now() + ms;
    while (this.isAlive && performance.now() < until) await delay(10);
    return !this.isAlive;
  }

  get isFollowed(): boolean {
    return this.#containers.size > 0;
  }

  /** As long as it has containers, it is asked for a sign of life now and then. */
  follow(id: string): void {
    this.#containers.add(id);
    this.#health ??= setInterval(() => void this.#askHealth(id), healthPeriodMs).unref();
  }

  leave(id: string): void {
    this.#containers.delete(id);
    if (this.#containers.size > 0) return;
    clearInterval(this.#health);
    this.#health = undefined;
  }

  /** The listener is called once, when the shim is gone or hangs. */
  onLost(listener: () => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  /** Its Task service; connects when necessary. Throws Unavailable when the shim is gone or hangs. */
  async task(signal: AbortSignal): Promise<TaskClient> {
    const task = await this.#task(signal);
    return {
      call: async (method, request, limits) => {
        const isLong = longCalls.has(method);
        if (isLong) this.#longCalls += 1;
        try {
          const answer = await task.call(method, request, limits);
          this.#silences = 0;
          return answer;
        } finally {
          if (isLong) this.#longCalls -= 1;
        }
      },
    };
  }

  async #task(signal: AbortSignal): Promise<TaskClient> {
    const { lost } = this;
    if (lost !== undefined) throw new StatusError(Code.Unavailable, lost);
    this.#connecting ??= this.#use(this.#connect(signal));
    return (await this.#connecting).task;
  }

  /** It did not answer when it had to: from now on it is not asked anything. */
  hangs(how: string): void {
    this.#lose(`its shim (process ${this.identity.pid}) hangs: ${how}`);
  }

  /** Ends it by force, because it hangs or is no longer needed. */
  kill(): void {
    signalProcess(this.identity.pid, this.identity.startTicks, 9);
    const socket = socketPathOf(this.bootstrap);
    if (socket !== undefined) rmSync(socket, { force: true });
  }

  [Symbol.dispose](): void {
    this.#watch[Symbol.dispose]();
    clearInterval(this.#health);
    this.#listeners.clear();
    void this.#connecting?.then(
      (connection) => connection[Symbol.dispose](),
      () => {},
    );
  }

  #connect(signal: AbortSignal): Promise<ShimConnection> {
    return connectShim(this.bootstrap, { namespace: this.#namespace, patienceMs: listenPatienceMs }, signal);
  }

  #use(connecting: Promise<ShimConnection>): Promise<ShimConnection> {
    const forget = () => {
      if (this.#connecting === connecting) this.#connecting = undefined;
    };
    connecting.then((connection) => void connection.closed.then(forget), forget);
    this.#connecting = connecting;
    return connecting;
  }

  /**
   * Any answer will do, an error too. While a long call is open only its own deadline counts.
   */
  async #askHealth(id: string): Promise<void> {
    if (this.#longCalls > 0) return;
    try {
      const signal = AbortSignal.timeout(answerTimeoutMs);
      const task = await this.#task(signal);
      await task.call("State", { id }, { timeoutMs: answerTimeoutMs, signal });
      this.#silences = 0;
    } catch (error) {
      const code = codeOf(error);
      const isSilence = code === Code.DeadlineExceeded || code === Code.Unavailable;
      if (isSilence && this.#longCalls > 0) return;
      this.#silences = isSilence ? this.#silences + 1 : 0;
      if (this.#silences > maxSilences)
        this.hangs(`it has not answered for ${(this.#silences * healthPeriodMs) / 1000} s`);
    }
  }

  #lose(reason: string): void {
    if (this.#lost !== undefined) return;
    this.#lost = reason;
    clearInterval(this.#health);
    for (const listener of this.#listeners) listener();
    this.#listeners.clear();
    void this.#connecting?.then(
      (connection) => connection[Symbol.dispose](),
      () => {},
    );
  }
}
