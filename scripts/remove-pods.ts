import type { CriClient } from "@keelson/cri/client.ts";
import {
  ListPodSandboxRequest,
  RemovePodSandboxRequest,
  StopPodSandboxRequest,
} from "@keelson/cri/gen/runtime/v1/api.ts";

/** Stops and removes every pod with these labels, and its containers. Returns how many there were, as text. */
export async function removePods(client: CriClient, labelSelector: Readonly<Record<string, string>>): Promise<string> {
  const request = ListPodSandboxRequest.fromPartial({ filter: { labelSelector } });
  const { items } = await client.call("listPodSandbox", request, AbortSignal.timeout(10_000));
  for (const { id } of items) {
    await client.call(
      "stopPodSandbox",
      StopPodSandboxRequest.fromPartial({ podSandboxId: id }),
      AbortSignal.timeout(60_000),
    );
    await client.call(
      "removePodSandbox",
      RemovePodSandboxRequest.fromPartial({ podSandboxId: id }),
      AbortSignal.timeout(60_000),
    );
  }
  return items.length === 1 ? "1 pod" : `${items.length} pods`;
}
