import type { Operation, Stage } from "./operation.ts";

/** A line of the drawing; times in ms since the beginning of its part. */
export interface WaterfallLine {
  /** 0: an operation, 1: a stage of it, 2: a detail of that. */
  readonly depth: number;
  readonly label: string;
  readonly startMs: number;
  readonly durationMs: number;
  /** What went wrong, or that it still runs. */
  readonly note: string | undefined;
}

/** Operations that follow each other closely. Each part has its own scale, so that hours between them are not drawn. */
export interface WaterfallPart {
  /** ms since the first operation began. */
  readonly startMs: number;
  readonly durationMs: number;
  readonly lines: readonly WaterfallLine[];
}

/** A pause that begins a new part, in ms. */
const maxPauseMs = 2000;

/** The calls that bring a pod up. */
const startingCalls: ReadonlySet<string> = new Set(["RunPodSandbox", "PullImage", "CreateContainer", "StartContainer"]);

/** Only what brought the pod up: probes, stops and removals left out. */
export function startingOperations(operations: readonly Operation[]): Operation[] {
  return operations.filter(({ call }) => startingCalls.has(call));
}

/** Lays operations out in time. */
export function waterfall(operations: readonly Operation[]): WaterfallPart[] {
  const first = operations[0]?.startedAtNs ?? 0n;
  const parts: { startMs: number; endMs: number; operations: { operation: Operation; atMs: number }[] }[] = [];
  for (const operation of operations) {
    const atMs = Number(operation.startedAtNs - first) / 1e6;
    let part = parts.at(-1);
    if (part === undefined || atMs > part.endMs + maxPauseMs)
      parts.push((part = { startMs: atMs, endMs: atMs, operations: [] }));
    part.operations.push({ operation, atMs: atMs - part.startMs });
    part.endMs = Math.max(part.endMs, atMs + operation.durationMs);
  }
  return parts.map((part) => ({
    startMs: part.startMs,
    durationMs: part.endMs - part.startMs,
    lines: part.operations.flatMap(({ operation, atMs }) => operationLines(operation, atMs)),
  }));
}

function operationLines(operation: Operation, atMs: number): WaterfallLine[] {
  const stageLine = (stage: Stage, depth: number): WaterfallLine[] => [
    {
      depth,
      label: stage.name,
      startMs: atMs + stage.startMs,
      durationMs: stage.endMs - stage.startMs,
      note: undefined,
    },
    ...stage.details.flatMap((detail) => stageLine(detail, depth + 1)),
  ];
  const own = {
    depth: 0,
    label: `${operation.call} ${operation.name}`.trim(),
    startMs: atMs,
    durationMs: operation.durationMs,
    note: noteOf(operation),
  };
  return [own, ...operation.stages.flatMap((stage) => stageLine(stage, 1))];
}

function noteOf({ code, error }: Operation): string | undefined {
  if (code === undefined) return "still runs";
  if (code === "Ok") return undefined;
  return error === undefined ? code : `${code}: ${error}`;
}
