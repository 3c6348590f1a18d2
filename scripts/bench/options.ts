import { parseArgs } from "node:util";
import { callNames } from "./round.ts";

/** What is measured besides single calls. */
const otherNames = ["execs", "memory", "stats", "streams", "handlers", "hung"] as const;

/** The bench's command line. */
export interface BenchOptions {
  /** `unix:///…` of a running runtime; without it, and with `hasPeer`, Debian's containerd is started. */
  readonly peer: string | undefined;
  readonly hasPeer: boolean;
  /** Our runtime handler; the daemon's default when empty. */
  readonly handler: string;
  readonly rounds: number;
  readonly pods: number;
  readonly large: boolean;
  /** Pods on each side while lists are measured, and for how long they are polled like a kubelet does. */
  readonly statsPods: number;
  readonly pollSeconds: number;
  readonly json: string | undefined;
  /** What to measure: names of calls, and of `otherNames`. */
  readonly only: ReadonlySet<string>;
}

export const usage = `npm run bench -- [options]

Measures keelsond side by side with a peer, in turns: the time and the CPU of each call, of bursts of execs, then the memory
of pods, then lists and stats with 200 containers, then exec and port-forward, then pods of each runtime handler of
keelsond, then lists and statuses while 20 pods and containers hang.

  --peer ENDPOINT   a running runtime, unix:///…, instead of Debian's containerd. Then nothing is in a sandbox, and that
                    runtime must pull from 127.0.0.1 without TLS and have a pod network
  --no-peer         only keelsond
  --handler NAME    keelsond's runtime handler, such as runc, instead of its default
  --rounds N        rounds after 3 for warming up (40)
  --pods N          pods on each side while memory is measured (20)
  --stats-pods N    pods of two containers on each side while lists and stats are measured (100)
  --poll-seconds N  how long they are then polled like a kubelet does (60)
  --large           also pull an image of 10 layers, 400 MB and 21,000 files, 3 times
  --only WHAT,…     measure only these (handlers: without a peer): a call (${callNames.join(", ")}),
                    ${otherNames.join(", ")}
  --json FILE       write every figure there
  --help`;

/** Reads the command line. Throws an Error that says what is wrong with it. */
export function parseOptions(args: readonly string[]): BenchOptions | "help" {
  const { values } = parseArgs({
    args: [...args],
    options: {
      peer: { type: "string" },
      "no-peer": { type: "boolean" },
      handler: { type: "string", default: "" },
      rounds: { type: "string", default: "40" },
      pods: { type: "string", default: "20" },
      "stats-pods": { type: "string", default: "100" },
      "poll-seconds": { type: "string", default: "60" },
      large: { type: "boolean", default: false },
      json: { type: "string" },
      only: { type: "string" },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) return "help";
  if (values.peer !== undefined && !values.peer.startsWith("unix:///"))
    throw new Error(`--peer must be unix:///path, not ${values.peer}`);
  const known = new Set<string>([...callNames, ...otherNames]);
  const only = new Set(values.only?.split(",") ?? known);
  for (const name of only) {
    if (!known.has(name)) throw new Error(`--only does not know ${name}; it knows ${[...known].join(", ")}`);
  }
  return {
    peer: values.peer,
    hasPeer: values["no-peer"] !== true && [...only].some((name) => name !== "handlers"),
    handler: values.handler,
    rounds: positive("--rounds", values.rounds),
    pods: positive("--pods", values.pods),
    statsPods: positive("--stats-pods", values["stats-pods"]),
    pollSeconds: positive("--poll-seconds", values["poll-seconds"]),
    large: values.large,
    json: values.json,
    only,
  };
}

function positive(flag: string, text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new Error(`${flag} must be a whole number from 1 on, not ${text}`);
  return value;
}
