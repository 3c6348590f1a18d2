import { codeName, codeOf, messageOf } from "@keelson/base/status.ts";
import { Latencies } from "./latencies.ts";

/** Something that should not have happened: a failed call, or a wrong answer. */
export interface Failure {
  readonly at: Date;
  /** The call, or what was checked. */
  readonly what: string;
  readonly request: string;
  readonly code: string;
  readonly message: string;
}

/** How many failures are kept; more are only counted. */
const rememberedFailures = 200;
const shownRequestLength = 400;

/** The results of all calls, since the start and since the last line of the CSV. */
export class Ledger {
  readonly total = new Map<string, Latencies>();
  readonly failures: Failure[] = [];
  #interval = new Map<string, Latencies>();
  #failed = 0;
  #cut = 0;
  #left = 0;

  /** How many calls failed or had a wrong answer. */
  get failed(): number {
    return this.#failed;
  }

  /** How many calls were cut off by a kill of the daemon, and repeated. */
  get cut(): number {
    return this.#cut;
  }

  /** How many calls lost their client. */
  get left(): number {
    return this.#left;
  }

  answered(call: string, ms: number): void {
    latenciesOf(this.total, call).add(ms);
    latenciesOf(this.#interval, call).add(ms);
  }

  wasCut(): void {
    this.#cut++;
  }

  wasLeft(): void {
    this.#left++;
  }

  /** Records a failure, and prints it. */
  fail(what: string, request: unknown, error: unknown): void {
    this.#failed++;
    const failure = {
      at: new Date(),
      what,
      request: asText(request),
      code: codeName(codeOf(error)),
      message: messageOf(error),
    };
    if (this.failures.length >= rememberedFailures) return;
    this.failures.push(failure);
    console.log(`  ✖ ${describeFailure(failure)}`);
  }

  /** The calls that were answered since the last call of this. */
  takeInterval(): ReadonlyMap<string, Latencies> {
    const interval = this.#interval;
    this.#interval = new Map();
    return interval;
  }
}

export function describeFailure({ at, what, request, code, message }: Failure): string {
  return `${at.toISOString()} ${what}: ${code}: ${message}\n      ${request}`;
}

function latenciesOf(all: Map<string, Latencies>, call: string): Latencies {
  const latencies = all.get(call) ?? new Latencies();
  all.set(call, latencies);
  return latencies;
}

function asText(request: unknown): string {
  const text =
    JSON.stringify(request, (_, value: unknown) => (typeof value === "bigint" ? Number(value) : value)) ?? "";
  return text.length > shownRequestLength ? `${text.slice(0, shownRequestLength)}…` : text;
}
