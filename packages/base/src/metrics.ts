/**
 * Numbers for Prometheus, in its text format 0.0.4 (https://prometheus.io/docs/instrumenting/exposition_formats/).
 *
 * Label values must come from the program, never from a client: each new one is a series that is kept for ever.
 */
export class Metrics {
  readonly #families = new Map<string, Family>();

  /** A number that only grows; by convention its name ends in `_total`. */
  counter<L extends string = never>(name: string, help: string, labels: readonly L[] = []): Counter<L> {
    const counter = new Counter<L>(name, labels);
    this.#add({ name, help, labels, type: "counter", samples: () => counter.samples() });
    return counter;
  }

  /** A number that goes up and down, read when the metrics are; one value, or one for each set of labels. */
  gauge<L extends string = never>(name: string, help: string, labels: readonly L[], read: Read<L>): void {
    this.#add({ name, help, labels, type: "gauge", samples: () => linesOf(name, labels, read) });
  }

  /** A number that only grows, counted elsewhere and read when the metrics are. */
  countedElsewhere<L extends string = never>(name: string, help: string, labels: readonly L[], read: Read<L>): void {
    this.#add({ name, help, labels, type: "counter", samples: () => linesOf(name, labels, read) });
  }

  /** A distribution of durations, by upper bounds in seconds. */
  histogram<L extends string = never>(
    name: string,
    help: string,
    labels: readonly L[],
    boundsSeconds: readonly number[],
  ): Histogram<L> {
    const histogram = new Histogram<L>(name, labels, boundsSeconds);
    this.#add({ name, help, labels, type: "histogram", samples: () => histogram.samples() });
    return histogram;
  }

  /** All metrics, for the documentation. */
  families(): { name: string; help: string; type: string; labels: readonly string[] }[] {
    return [...this.#families.values()].map(({ name, help, type, labels }) => ({ name, help, type, labels }));
  }

  /** All metrics, as Prometheus reads them. Rejects when a gauge does. */
  async text(): Promise<string> {
    const texts = [...this.#families.values()].map(
      async (f) =>
        `# HELP ${f.name} ${escapeHelp(f.help)}\n# TYPE ${f.name} ${f.type}\n${[...(await f.samples())].join("")}`,
    );
    return (await Promise.all(texts)).join("");
  }

  #add(family: Family): void {
    if (this.#families.has(family.name)) throw new Error(`there are two metrics ${family.name}`);
    this.#families.set(family.name, family);
  }
}

export interface Sample<L extends string> {
  labels: Readonly<Record<L, string>>;
  value: number;
}

type Read<L extends string> = () => Iterable<Sample<L>> | Promise<Iterable<Sample<L>>>;

interface Family {
  name: string;
  help: string;
  type: "counter" | "gauge" | "histogram";
  labels: readonly string[];
  samples(): Iterable<string> | Promise<Iterable<string>>;
}

export class Counter<L extends string = never> {
  readonly #name: string;
  readonly #labels: readonly L[];
  readonly #values = new Map<string, number>();

  constructor(name: string, labels: readonly L[]) {
    this.#name = name;
    this.#labels = labels;
    if (labels.length === 0) this.#values.set("", 0);
  }

  /** @param by 0 makes the series appear before anything has happened */
  add(labels: Readonly<Record<L, string>>, by = 1): void {
    const key = labelsOf(this.#labels, labels);
    this.#values.set(key, (this.#values.get(key) ?? 0) + by);
  }

  *samples(): Iterable<string> {
    for (const [labels, value] of this.#values) yield line(this.#name, labels, value);
  }
}

interface Distribution {
  /** By bound, not cumulative; the last is for everything above. */
  counts: number[];
  sum: number;
}

export class Histogram<L extends string = never> {
  readonly #name: string;
  readonly #labels: readonly L[];
  readonly #bounds: readonly number[];
  readonly #values = new Map<string, Distribution>();

  constructor(name: string, labels: readonly L[], bounds: readonly number[]) {
    this.#name = name;
    this.#labels = labels;
    this.#bounds = bounds;
  }

  observe(labels: Readonly<Record<L, string>>, seconds: number): void {
    const key = labelsOf(this.#labels, labels);
    let found = this.#values.get(key);
    if (found === undefined)
      this.#values.set(key, (found = { counts: Array.from({ length: this.#bounds.length + 1 }, () => 0), sum: 0 }));
    const bound = this.#bounds.findIndex((b) => seconds <= b);
    const bucket = bound === -1 ? this.#bounds.length : bound;
    found.counts[bucket] = (found.counts[bucket] ?? 0) + 1;
    found.sum += seconds;
  }

  *samples(): Iterable<string> {
    for (const [labels, { counts, sum }] of this.#values) {
      const before = labels === "" ? "" : `${labels},`;
      let count = 0;
      for (const [i, bound] of [...this.#bounds, "+Inf"].entries()) {
        count += counts[i] ?? 0;
        yield line(`${this.#name}_bucket`, `${before}le="${bound}"`, count);
      }
      yield line(`${this.#name}_sum`, labels, sum);
      yield line(`${this.#name}_count`, labels, count);
    }
  }
}

async function linesOf<L extends string>(name: string, labels: readonly L[], read: Read<L>): Promise<string[]> {
  return [...(await read())].map((sample) => line(name, labelsOf(labels, sample.labels), sample.value));
}

function labelsOf<L extends string>(names: readonly L[], values: Readonly<Record<L, string>>): string {
  return names
    .map((name) => `${name}="${values[name].replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n")}"`)
    .join(",");
}

function line(name: string, labels: string, value: number): string {
  return `${name}${labels === "" ? "" : `{${labels}}`} ${value}\n`;
}

function escapeHelp(help: string): string {
  return help.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
}
