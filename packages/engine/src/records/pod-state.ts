import { Code, StatusError } from "@keelson/base/status.ts";

/**
 * What a pod sandbox is. Only `ready` pods run containers; `creating` ones are not shown to clients, and whatever
 * remains of a `stopping` one is taken down by the next try.
 */
export type PodState =
  | { readonly is: "creating" }
  | { readonly is: "ready"; readonly ips: readonly string[] }
  | { readonly is: "stopping" }
  | { readonly is: "notReady" }
  | ({ readonly is: "unreadable" } & UnreadablePod);

/** Of a pod whose record cannot be read: nobody writes this state. What there is of it is left alone. */
export interface UnreadablePod {
  /** What is wrong with the record. */
  readonly message: string;
  /** Whether the record says how the pod was made, so that it can be taken down by that. */
  readonly hasPlan: boolean;
  /** A client has stopped it since this build looks. */
  readonly isStopped: boolean;
}

export type PodEvent =
  | { readonly type: "ready"; readonly ips: readonly string[] }
  | { readonly type: "stopping" }
  | { readonly type: "stopped" };

/** The pod's next state. Throws FailedPrecondition for an event that its state does not allow. */
export function podTransition(state: PodState, event: PodEvent): PodState {
  if (state.is === "unreadable" && event.type !== "ready")
    return event.type === "stopped" ? { ...state, isStopped: true } : state;
  if (state.is === "creating" && event.type === "ready") return { is: "ready", ips: event.ips };
  if (event.type === "stopping" && state.is !== "notReady") return { is: "stopping" };
  // CRI: StopPodSandbox may be called any number of times.
  if (event.type === "stopped") return state.is === "notReady" ? state : { is: "notReady" };
  throw new StatusError(Code.FailedPrecondition, `a pod sandbox that is ${state.is} cannot become ${event.type}`);
}
