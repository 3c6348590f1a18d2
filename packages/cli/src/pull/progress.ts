import { humanSize } from "../output/human.ts";
import { safeText } from "../output/safe-text.ts";

/**
 * How far a pull has come. A runtime that knows puts it as JSON into `info["pullProgress"]` of a verbose ImageStatus
 * for the image that is being pulled.
 */
export interface PullProgress {
  /** One word, such as `resolving`, `downloading`, `unpacking`. */
  readonly stage: string;
  readonly layers: readonly LayerProgress[];
}

export interface LayerProgress {
  readonly digest: string;
  /** `done` when nothing is left to do. */
  readonly stage: string;
  readonly bytes: number;
  /** 0: not known yet. */
  readonly totalBytes: number;
}

/** Reads the JSON of a runtime; undefined for anything that is not a PullProgress. */
export function parsePullProgress(text: string | undefined): PullProgress | undefined {
  if (text === undefined) return undefined;
  try {
    const { stage, layers } = JSON.parse(text) as { stage?: unknown; layers?: unknown };
    if (!Array.isArray(layers)) return undefined;
    return {
      stage: typeof stage === "string" ? stage : "",
      layers: layers.map((one) => layerOf(one as Record<string, unknown>)),
    };
  } catch {
    return undefined;
  }
}

function layerOf(layer: Record<string, unknown>): LayerProgress {
  const number = (value: unknown) => (typeof value === "number" && Number.isFinite(value) && value > 0 ? value : 0);
  return {
    digest: String(layer["digest"]),
    stage: String(layer["stage"]),
    bytes: number(layer["bytes"]),
    totalBytes: number(layer["totalBytes"]),
  };
}

const spinner = ["|", "/", "-", "\\"];
const barWidth = 24;

/**
 * One line for the terminal, no longer than `columns`: a bar if the runtime reports progress, else a spinner; always
 * the image and the time since the pull began.
 */
export function progressLine(
  image: string,
  progress: PullProgress | undefined,
  elapsedMs: number,
  columns: number,
): string {
  const turn = spinner[Math.trunc(elapsedMs / 200) % spinner.length]!;
  const seconds = `${Math.trunc(elapsedMs / 1000)}s`;
  const parts = progress === undefined ? [] : describe(progress);
  const line = [turn, "pulling", safeText(image), ...parts, seconds].filter((part) => part !== "").join(" ");
  return line.length < columns ? line : `${line.slice(0, Math.max(0, columns - 2))}…`;
}

function describe({ stage, layers }: PullProgress): string[] {
  if (layers.length === 0) return [safeText(stage)];
  const done = layers.filter((layer) => layer.stage === "done").length;
  const bytes = layers.reduce((sum, layer) => sum + layer.bytes, 0);
  const totalBytes = layers.reduce((sum, layer) => sum + Math.max(layer.totalBytes, layer.bytes), 0);
  const filled = totalBytes === 0 ? 0 : Math.round((bytes / totalBytes) * barWidth);
  const bar = `[${"#".repeat(filled)}${"-".repeat(barWidth - filled)}]`;
  return [safeText(stage), `${done}/${layers.length} layers`, bar, `${humanSize(bytes)}/${humanSize(totalBytes)}`];
}
