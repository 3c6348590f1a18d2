import type { PodNetwork } from "@keelson/networks/pod-network.ts";
import type { FakeNode } from "./fake-node.ts";

/** The network of a machine in memory, which only gives each pod an address. */
export function fakeNetwork(node: FakeNode): PodNetwork {
  return {
    attach: (pod, signal, stage) => {
      stage?.("attach to network podnet: plugin bridge: ADD");
      return node.effect(
        "network attach",
        () => {
          if (!node.things.has(`netns ${pod.id}`))
            node.violations.push(`pod ${pod.id} was attached without its namespace`);
          const ip = `10.0.0.${(node.addresses += 1)}`;
          node.attachments.set(pod.id, ip);
          return { ips: [ip] };
        },
        signal,
      );
    },
    detach: (pod, signal) => node.effect("network detach", () => void node.attachments.delete(pod.id), signal),
    status: () =>
      node.networkReady
        ? { ready: true, reason: "", message: "" }
        : { ready: false, reason: "NetworkPluginNotReady", message: "there is no network" },
    collectGarbage: (podIds, signal) =>
      node.effect(
        "network collect-garbage",
        () => {
          for (const id of node.attachments.keys()) if (!podIds.has(id)) node.attachments.delete(id);
        },
        signal,
      ),
    updateRuntimeConfig: () => {},
  };
}
