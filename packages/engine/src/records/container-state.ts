import { Code, StatusError } from "@keelson/base/status.ts";
import type { RunningProcesses } from "@keelson/runtimes/runtime.ts";

/** What a container is. `creating` ones are not shown to clients. Times are ns since 1970. */
export type ContainerState =
  | { readonly is: "creating" }
  | ({ readonly is: "created" } & RunningProcesses)
  | ({ readonly is: "running"; readonly startedAtNs: bigint } & RunningProcesses)
  | ({ readonly is: "exited" } & Exit)
  | { readonly is: "unknown"; readonly message: string }
  | ({ readonly is: "unreadable" } & UnreadableContainer);

/** Of a container whose record cannot be read: nobody writes this state. It may run, and is left alone. */
export interface UnreadableContainer {
  /** What is wrong with the record. */
  readonly message: string;
  /** What runs of it; undefined when that cannot be told. */
  readonly processes: RunningProcesses | undefined;
  /** Whether the record says which layers it stands on. */
  readonly hasLayers: boolean;
  /** How it ended, as far as that is known, since this build looks; undefined while it may run. */
  readonly ended: { readonly exitCode: number; readonly finishedAtNs: bigint } | undefined;
}

interface Exit {
  readonly exitCode: number;
  readonly reason: ExitReason;
  readonly message: string;
  /** 0 when it never started. */
  readonly startedAtNs: bigint;
  readonly finishedAtNs: bigint;
}

/** One CamelCase word, as the CRI wants it. */
export type ExitReason = "Completed" | "Error" | "OOMKilled" | "StartError" | "MonitorLost" | "NodeRebooted";

export type ContainerEvent =
  | ({ readonly type: "created" } & RunningProcesses)
  | { readonly type: "started"; readonly atNs: bigint }
  | {
      readonly type: "exited";
      readonly exitCode: number;
      readonly reason: ExitReason;
      readonly message: string;
      readonly atNs: bigint;
    }
  | { readonly type: "lost"; readonly message: string };

/**
 * The container's next state. Times never go back, also when the clock was set back between two events: an event counts
 * as no earlier than what came before it, and the first as no earlier than `createdAtNs`. Throws FailedPrecondition for
 * an event that the state does not allow.
 */
export function containerTransition(state: ContainerState, event: ContainerEvent, createdAtNs: bigint): ContainerState {
  switch (event.type) {
    case "created":
      if (state.is === "creating")
        return { is: "created", ...(event.main === undefined ? {} : { main: event.main }), monitor: event.monitor };
      break;
    case "started":
      return started(state, latest(event.atNs, createdAtNs));
    case "exited":
      return exited(state, event, createdAtNs);
    case "lost":
      if (state.is !== "exited" && state.is !== "unreadable") return { is: "unknown", message: event.message };
      break;
  }
  throw refused(state, event);
}

function started(state: ContainerState, atNs: bigint): ContainerState {
  if (state.is === "created") return { ...state, is: "running", startedAtNs: atNs };
  // A container that ends at once may be seen to exit before its start is recorded.
  if (state.is === "exited" && state.startedAtNs === 0n)
    return { ...state, startedAtNs: atNs, finishedAtNs: latest(state.finishedAtNs, atNs) };
  throw refused(state, { type: "started" });
}

function exited(
  state: ContainerState,
  event: ContainerEvent & { type: "exited" },
  createdAtNs: bigint,
): ContainerState {
  // The first report of an exit is the one that counts.
  if (state.is === "exited") return state;
  if (state.is === "unreadable")
    return { ...state, ended: state.ended ?? { exitCode: event.exitCode, finishedAtNs: event.atNs } };
  const startedAtNs = state.is === "running" ? state.startedAtNs : 0n;
  return {
    is: "exited",
    exitCode: event.exitCode,
    reason: event.reason,
    message: event.message,
    startedAtNs,
    finishedAtNs: latest(event.atNs, startedAtNs, createdAtNs),
  };
}

function latest(...timesNs: bigint[]): bigint {
  return timesNs.reduce((a, b) => (a > b ? a : b));
}

function refused(state: ContainerState, event: Pick<ContainerEvent, "type">): StatusError {
  return new StatusError(Code.FailedPrecondition, `a container that is ${state.is} cannot become ${event.type}`);
}
