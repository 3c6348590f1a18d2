import { PullImageRequest } from "@keelson/cri/gen/runtime/v1/api.ts";
import { Registry } from "@keelson/testkit/registry.ts";
import { Caller } from "./caller.ts";
import { churnImage, listAll, removeOrphans, repeat } from "./clients.ts";
import { Ledger } from "./ledger.ts";
import { judgeMemory, type MemoryVerdict } from "./memory-trend.ts";
import type { SoakOptions } from "./options.ts";
import { Random } from "./random.ts";
import { pause, Sampler } from "./sampler.ts";
import { Slot } from "./slot.ts";
import { addImages } from "./soak-images.ts";
import { SoakNode } from "./soak-node.ts";
import { World } from "./world.ts";

/** Connections that create and remove pods: with two cores, more would only wait. */
const podClients = 4;
const killEveryMs = 60_000;
/** With so many failures, nothing works. */
const tooManyFailures = 100;

/** The result of a run. */
export interface ChurnResult {
  readonly seconds: number;
  readonly ledger: Ledger;
  readonly memory: MemoryVerdict;
  readonly restartsMs: readonly number[];
  /** Things without an owner at two samples in a row during the run. */
  readonly leaks: ReadonlyMap<string, Date>;
  /** What was left after everything was taken down. */
  readonly left: readonly string[];
}

/** Runs the churn until its time is over or `signal` aborts, then takes everything down. */
export async function churn(
  dir: string,
  options: SoakOptions,
  signal: AbortSignal,
  progress: (text: string) => void,
): Promise<ChurnResult> {
  const ledger = new Ledger();
  const random = new Random(options.seed);
  const world = new World();
  await using registry = await Registry.start();
  const images = addImages(registry, options.pods);
  await using node = await SoakNode.start(dir, options.handlers);
  using callers = new DisposableStack();
  const caller = () => callers.use(new Caller(node, ledger));
  await caller().call("pullImage", PullImageRequest.fromPartial({ image: { image: images.busybox } }));

  const over = new AbortController();
  const end = AbortSignal.any([signal, over.signal, AbortSignal.timeout(options.minutes * 60_000)]);
  const startedAtMs = performance.now();
  const makers = Array.from({ length: podClients }, caller);
  const slots = Array.from({ length: options.pods }, (_, number) => {
    const slot = new Slot({
      number,
      caller: makers[number % podClients]!,
      world,
      random: new Random(options.seed + 1000 + number),
      images,
      dir,
      handlers: options.handlers,
      isPermanent: number === 0,
    });
    return slot.run(end);
  });
  // When the daemon does not come back, nothing else can work.
  const giveUp = (error: unknown) => {
    ledger.fail("the start after kill -9", "", error);
    over.abort();
  };
  const [lister, puller, housekeeper, looker] = [caller(), caller(), caller(), caller()];
  await using sampler = new Sampler(node, looker, options.csv, () => node.restartsMs.length);
  const others = new AbortController();
  const background = [
    repeat(lister, 200, others.signal, () => listAll(lister, world, random)),
    repeat(puller, 1500, others.signal, () => churnImage(puller, images.churned, random)),
    repeat(housekeeper, 5000, others.signal, () => removeOrphans(housekeeper, world)),
    repeat(looker, 0, end, () => sampler.run(end, progress)),
    repeat(looker, 1000, end, () => {
      if (ledger.failed >= tooManyFailures) over.abort();
      return Promise.resolve();
    }),
    options.kill ? killNowAndThen(node, random, end).catch(giveUp) : Promise.resolve(),
  ];
  try {
    // The other clients keep working while the last pods are taken down.
    await Promise.all(slots);
    others.abort();
    await Promise.all(background);
  } finally {
    over.abort();
    others.abort();
  }
  const seconds = (performance.now() - startedAtMs) / 1000;
  progress("taking everything down");
  callers.dispose();
  return {
    seconds,
    ledger,
    memory: judgeMemory(sampler.memory),
    restartsMs: [...node.restartsMs],
    leaks: sampler.leaks,
    left: await node.takeDown(),
  };
}

/** Kills the daemon with SIGKILL about once a minute, at random moments, and starts the next one at once. */
async function killNowAndThen(node: SoakNode, random: Random, signal: AbortSignal): Promise<void> {
  while (await pause(killEveryMs * random.between(0.9, 1.1), signal)) await node.restart("SIGKILL");
}
