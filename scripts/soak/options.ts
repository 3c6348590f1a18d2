import { parseArgs } from "node:util";
import { runtimeHandlers } from "@keelson/testkit/runtime-handlers.ts";

/** The soak's command line. */
export interface SoakOptions {
  /** How long the churn takes; not used with `load`. */
  readonly minutes: number;
  /** How many pods exist at a time. */
  readonly pods: number;
  readonly csv: string | undefined;
  readonly seed: number;
  /** Whether the daemon is killed every minute. */
  readonly kill: boolean;
  /** Instead of churn: this many pods are brought up, listed, recovered after a kill, and taken down. */
  readonly load: number | undefined;
  /** Runtime handlers of the pods, in turns; empty for only the default. */
  readonly handlers: readonly string[];
}

const knownHandlers = runtimeHandlers().map(({ name }) => name);

export const usage = `npm run soak -- --minutes N [options]
npm run soak -- --load N

Churn on a keelsond of its own, in a sandbox: pods up and down, execs, log bursts, rotations, pulls and removals, clients
that go away, and kill -9 of the daemon every minute. It passes when no call failed except those that a kill cut off, no
line of any log was lost, nothing leaked and the daemon's memory is flat. Ctrl-C ends it early, with the summary.

  --minutes N     how long (10)
  --pods N        pods at a time (20)
  --csv FILE      a line every 10 s, to plot: calls, latencies, the daemon's memory, what exists, what leaked
  --seed S        repeats the choices of an earlier run
  --no-kill       let the daemon live
  --handlers A,B  pods have these runtime handlers in turns, instead of only the default: ${knownHandlers.join(", ")}
  --load N        instead: N pods with a container each, up, listed, the daemon killed and started again, all down
  --help`;

/** Reads the command line. Throws an Error that says what is wrong with it. */
export function parseOptions(args: readonly string[], newSeed: () => number): SoakOptions | "help" {
  const { values } = parseArgs({
    args: [...args],
    options: {
      minutes: { type: "string", default: "10" },
      pods: { type: "string", default: "20" },
      csv: { type: "string" },
      seed: { type: "string" },
      "no-kill": { type: "boolean", default: false },
      load: { type: "string" },
      handlers: { type: "string" },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) return "help";
  const minutes = Number(values.minutes);
  if (!(minutes > 0)) throw new Error(`--minutes must be more than 0, not ${values.minutes}`);
  const handlers = values.handlers?.split(",") ?? [];
  for (const name of handlers) {
    if (!knownHandlers.includes(name))
      throw new Error(`--handlers does not know ${name}; it knows ${knownHandlers.join(", ")}`);
  }
  return {
    minutes,
    pods: positive("--pods", values.pods),
    csv: values.csv,
    seed: values.seed === undefined ? newSeed() : positive("--seed", values.seed),
    kill: !values["no-kill"],
    load: values.load === undefined ? undefined : positive("--load", values.load),
    handlers,
  };
}

function positive(flag: string, text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new Error(`${flag} must be a whole number from 1 on, not ${text}`);
  return value;
}
