import { Code, StatusError } from "@keelson/base/status.ts";
import type { ProcessIdentity } from "../pod/state.ts";

/** What a container is. `creating` ones are not shown to clients. Times are ns since 1970. */
export type ContainerState =
  | { readonly is: "creating" }
  | ({ readonly is: "created" } & Processes)
  | ({ readonly is: "running"; readonly startedAtNs: bigint } & Processes)
  | ({ readonly is: "exited" } & Exit)
  | { readonly is: "unknown"; readonly message: string };

interface Processes {
  /** The container's first process. */
  readonly main: ProcessIdentity;
  /** The monitor that holds its streams and learns its exit code. */
  readonly monitor: ProcessIdentity;
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
  | ({ readonly type: "created" } & Processes)
  | { readonly type: "started"; readonly atNs: bigint }
  | { readonly type: "exited"; readonly exitCode: number; readonly reason: ExitReason; readonly message: string; readonly atNs: bigint }
  | { readonly type: "lost"; readonly message: string };

/** The container's next state. Throws FailedPrecondition for an event that its state does not allow. */
export function containerTransition(state: ContainerState, event: ContainerEvent): ContainerState {
  switch (event.type) {
    case "created":
      if (state.is === "creating") return { is: "created", main: event.main, monitor: event.monitor };
      break;
    case "started":
      if (state.is === "created") return { ...state, is: "running", startedAtNs: event.atNs };
      // A container that ends at once may be seen to exit before its start is noted.
      if (state.is === "exited" && state.startedAtNs === 0n) return { ...state, startedAtNs: event.atNs };
      break;
    case "exited":
      return exited(state, event);
    case "lost":
      if (state.is !== "exited") return { is: "unknown", message: event.message };
      break;
  }
  throw new StatusError(Code.FailedPrecondition, `a container that is ${state.is} cannot become ${event.type}`);
}

function exited(state: ContainerState, event: ContainerEvent & { type: "exited" }): ContainerState {
  // The first report of an exit is the one that counts.
  if (state.is === "exited") return state;
  return {
    is: "exited",
    exitCode: event.exitCode,
    reason: event.reason,
    message: event.message,
    startedAtNs: state.is === "running" ? state.startedAtNs : 0n,
    finishedAtNs: event.atNs,
  };
}
