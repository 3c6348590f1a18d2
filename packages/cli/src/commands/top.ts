import type { Readable } from "node:stream";
import { Code, StatusError } from "@keelson/base/status.ts";
import type { Command } from "commander";
import type { App } from "../app.ts";
import { addExamples, listOption } from "../flags.ts";
import { redraw } from "../output/watch.ts";
import type { ContainerSelection } from "../select.ts";
import type { Session } from "../session.ts";
import { parseWhole } from "../settings.ts";
import { parseSampleMs } from "../stats/sample-time.ts";
import { takeSample } from "../top/take-sample.ts";
import { type SortKey, usageRows, type UsageSample } from "../top/usage-row.ts";
import { usageTable } from "../top/usage-table.ts";

interface TopFlags extends ContainerSelection {
  sort: string;
  seconds: string;
  iterations?: string;
}

/** The keys that change the sort order. */
const sortKeys: Readonly<Record<string, SortKey>> = { c: "cpu", m: "memory", i: "io", n: "network", r: "restarts" };

/** Switches a terminal (xterm) to its other screen without a cursor, and back. */
const enterScreen = "\u001b[?1049h\u001b[?25l";
const leaveScreen = "\u001b[?25h\u001b[?1049l";

/** `top`: running containers and what they use, live. */
export function addTop(program: Command, app: App): void {
  const command = program
    .command("top")
    .description(
      "show what running containers use, live. Keys: c, m, i, n, r sort by CPU, memory, io, network, restarts; q ends",
    )
    .option("--sort <key>", `what to sort by: ${Object.values(sortKeys).join(", ")}`, "cpu")
    .option("-s, --seconds <seconds>", "time between two views", "2")
    .option("-n, --iterations <count>", "end after this many views; 1 for a script")
    .option("-p, --pod <id>", "containers of this pod")
    .option("--name <regex>", "containers whose name matches")
    .option("--namespace <regex>", "containers of pods whose namespace matches")
    .addOption(listOption("--label <key=value>", "containers with this label (repeatable)"))
    .action((flags: TopFlags) => app.run((session) => top(session, flags)));
  addExamples(command, [
    ["keelctl top", "until q"],
    ["keelctl top -n 1 --sort memory", "once, for a script"],
    ["keelctl top --namespace '^kube-' -s 5", "some of them, every 5 seconds"],
  ]);
}

async function top(session: Session, flags: TopFlags): Promise<void> {
  const { io } = session;
  const everyMs = parseSampleMs(flags.seconds);
  const views = flags.iterations === undefined ? Infinity : parseWhole(flags.iterations, "--iterations");
  const isLive = io.stdout.isTerminal && views === Infinity;
  using view = new View(session, parseSort(flags.sort), isLive);
  try {
    if (isLive) await view.enter();
    // Rates need two samples; on a terminal the rest is shown at once.
    let before: UsageSample | undefined;
    if (!isLive) {
      before = await takeSample(session, flags);
      await io.sleep(everyMs, io.signal);
    }
    for (let shown = 0; shown < views; shown += 1) {
      if (shown > 0) await view.pause(everyMs);
      if (view.isOver) break;
      const now = await takeSample(session, flags);
      await view.show(before, now);
      before = now;
    }
  } catch (error) {
    // Ctrl-C is the normal way to end this.
    if (!io.signal.aborted) throw error;
  } finally {
    await view.leave();
  }
}

function parseSort(text: string): SortKey {
  const key = Object.values(sortKeys).find((one) => one === text);
  if (key === undefined)
    throw new StatusError(Code.InvalidArgument, `--sort ${text}: must be one of ${Object.values(sortKeys).join(", ")}`);
  return key;
}

/** The screen and its keys. */
class View implements Disposable {
  readonly #session: Session;
  readonly #isLive: boolean;
  readonly #cleanup = new DisposableStack();
  #sort: SortKey;
  #samples: { before: UsageSample | undefined; now: UsageSample } | undefined;
  #isFirst = true;
  #isInside = false;
  #wake = new AbortController();
  isOver = false;

  constructor(session: Session, sort: SortKey, isLive: boolean) {
    this.#session = session;
    this.#sort = sort;
    this.#isLive = isLive;
  }

  async enter(): Promise<void> {
    const { io } = this.#session;
    this.#isInside = true;
    await io.stdout.write(enterScreen);
    this.#cleanup.use(io.stdout.onResize(() => void this.#draw()));
    if (!io.stdin.isTerminal) return;
    const keys: Readable = io.stdin.open();
    this.#cleanup.defer(() => void keys.destroy());
    io.stdin.setRaw(true);
    this.#cleanup.defer(() => io.stdin.setRaw(false));
    keys.on("data", (data: Buffer) => {
      for (const key of data.toString("latin1")) this.#press(key);
    });
  }

  /** Restores the terminal, also after an error. */
  async leave(): Promise<void> {
    this[Symbol.dispose]();
    if (this.#isInside) await this.#session.io.stdout.write(leaveScreen);
    this.#isInside = false;
  }

  [Symbol.dispose](): void {
    this.#cleanup.dispose();
  }

  async show(before: UsageSample | undefined, now: UsageSample): Promise<void> {
    this.#samples = { before, now };
    await this.#draw();
  }

  /** Waits until the next view is due, or the user quits. */
  async pause(ms: number): Promise<void> {
    const { io } = this.#session;
    await io.sleep(ms, AbortSignal.any([io.signal, this.#wake.signal])).catch(() => {});
    io.signal.throwIfAborted();
  }

  #press(key: string): void {
    const sort = sortKeys[key];
    if (sort !== undefined) {
      this.#sort = sort;
      void this.#draw();
    }
    // In raw mode Ctrl-C is a key too.
    if (key === "q" || key === "\u0003") {
      this.isOver = true;
      this.#wake.abort();
    }
  }

  async #draw(): Promise<void> {
    if (this.#samples === undefined || this.isOver) return;
    const { stdout } = this.#session.io;
    const { before, now } = this.#samples;
    const rows = usageRows(before, now, this.#sort);
    if (!this.#isLive) {
      await stdout.write(usageTable(rows, this.#sort, { columns: Infinity, rows: Infinity }));
      return;
    }
    const title = `${rows.length} containers in ${now.pods.length} pods   sort: c m i n r   q: quit`.slice(
      0,
      stdout.columns,
    );
    const text = `${title}\n${usageTable(rows, this.#sort, { columns: stdout.columns, rows: stdout.rows - 2 })}`;
    await stdout.write(redraw(text, this.#isFirst));
    this.#isFirst = false;
  }
}
