import type { AttachedPod } from "./attached-pod.ts";

/** Told what is being done, such as `attach to network podnet: plugin bridge: ADD`. */
export type Stage = (name: string) => void;

/** What Status says of the network (CRI: RuntimeCondition NetworkReady). */
export interface NetworkStatus {
  readonly ready: boolean;
  /** Empty when it is ready. */
  readonly reason: "" | "NetworkPluginNotReady";
  readonly message: string;
}

/** A pod's addresses on its network, the primary one first. */
export interface PodAddresses {
  readonly ips: readonly string[];
}

/** What the engine needs of pods' networks, whatever makes them. */
export interface PodNetwork {
  /**
   * Attaches a pod to its network. What fails is undone, with a deadline of its own, and what could not be undone is
   * left for `detach`. Throws FailedPrecondition when there is no usable network, InvalidArgument for what the pod asks.
   */
  attach(pod: AttachedPod, signal: AbortSignal, stage?: Stage): Promise<PodAddresses>;
  /** Detaches a pod from whatever it was attached to; succeeds when there is nothing left. May be repeated. */
  detach(pod: AttachedPod, signal: AbortSignal, stage?: Stage): Promise<void>;
  /** Whether pods can be attached. Answers at once from what is known. */
  status(): NetworkStatus;
  /** Detaches what belongs to none of these pods. For the start, before any pod is attached. Never rejects. */
  collectGarbage(podIds: ReadonlySet<string>, signal: AbortSignal): Promise<void>;
  /** CRI: UpdateRuntimeConfig. */
  updateRuntimeConfig(podCidr: string): void;
}
