/** A part of an operation; times in ms since its beginning. */
export interface Stage {
  readonly name: string;
  readonly startMs: number;
  readonly endMs: number;
  /** What it spent its time on. */
  readonly details: readonly Stage[];
}

/** What a runtime did for a pod: a call of the CRI. */
export interface Operation {
  readonly call: string;
  /** The pod's or container's name, or the image's. */
  readonly name: string;
  readonly containerId: string | undefined;
  /** ns since 1970. */
  readonly startedAtNs: bigint;
  readonly durationMs: number;
  /** `Ok` or the name of another gRPC code; undefined while it runs. */
  readonly code: string | undefined;
  readonly error: string | undefined;
  readonly stages: readonly Stage[];
}

/** Reads `info["trace"]` of a verbose PodSandboxStatus, oldest first; undefined when it is not such a list. */
export function parseTrace(text: string | undefined): Operation[] | undefined {
  try {
    const list: unknown = JSON.parse(text ?? "");
    if (!Array.isArray(list)) return undefined;
    return list.map(operationOf).sort((a, b) => Number(a.startedAtNs - b.startedAtNs));
  } catch {
    return undefined;
  }
}

function operationOf(value: Record<string, unknown>): Operation {
  return {
    call: optionalText(value["call"]) ?? "",
    name: optionalText(value["name"]) ?? "",
    containerId: optionalText(value["containerId"]),
    startedAtNs: BigInt(value["startedAtNs"] as string),
    durationMs: time(value["durationMs"]),
    code: optionalText(value["code"]),
    error: optionalText(value["error"]),
    stages: stagesOf(value["stages"]),
  };
}

function stagesOf(value: unknown): Stage[] {
  if (!Array.isArray(value)) return [];
  return value.map((one: Record<string, unknown>) => {
    const startMs = time(one["startMs"]);
    return {
      name: optionalText(one["name"]) ?? "",
      startMs,
      endMs: Math.max(startMs, time(one["endMs"])),
      details: stagesOf(one["details"]),
    };
  });
}

function optionalText(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}

function time(value: unknown): number {
  return typeof value === "number" && Number.isFinite(value) && value > 0 ? value : 0;
}
