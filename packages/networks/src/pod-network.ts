import type { AttachedPod } from "./attached-pod.ts";

/** Called with what is being done, such as `attach to network podnet: plugin bridge: ADD`. */
export type Stage = (name: string) => void;

/** What Status reports about the network (CRI: RuntimeCondition NetworkReady). */
export interface NetworkStatus {
  readonly ready: boolean;
  /** Empty when the network is ready. */
  readonly reason: "" | "NetworkPluginNotReady";
  readonly message: string;
}

/** A pod's addresses on its network, the primary one first. */
export interface PodAddresses {
  readonly ips: readonly string[];
}

/** What the engine needs from pods' networks, however they are made. */
export interface PodNetwork {
  /**
   * Attaches a pod to its network and returns its addresses. A failure is undone, within its own deadline; what could
   * not be undone is left for `detach`. Throws FailedPrecondition when there is no usable network, InvalidArgument for
   * wrong settings of the pod.
   */
  attach(pod: AttachedPod, signal: AbortSignal, stage?: Stage): Promise<PodAddresses>;
  /** Detaches a pod from whatever it was attached to. May be repeated; succeeds when nothing is left. */
  detach(pod: AttachedPod, signal: AbortSignal, stage?: Stage): Promise<void>;
  /** Whether pods can be attached, as far as known. Does not wait for anything. */
  status(): NetworkStatus;
  /**
   * Detaches what belongs to none of these pods. To be called at the start, before any pod is attached. Never rejects.
   */
  collectGarbage(podIds: ReadonlySet<string>, signal: AbortSignal): Promise<void>;
  /** CRI: UpdateRuntimeConfig. `podCidr` may be two, separated by a comma. */
  updateRuntimeConfig(podCidr: string): void;
}
