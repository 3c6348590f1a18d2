import type { CriClient } from "@keelson/cri/client.ts";
import { ListPodSandboxRequest, RemovePodSandboxRequest, StopPodSandboxRequest } from "@keelson/cri/gen/runtime/v1/api.ts";

/** Stops and removes every pod with its containers. Returns how many that were, as text. */
export async function removeAllPods(client: CriClient): Promise<string> {
  const { items } = await client.call("listPodSandbox", ListPodSandboxRequest.fromPartial({}), AbortSignal.timeout(10_000));
  for (const { id } of items) {
    await client.call("stopPodSandbox", StopPodSandboxRequest.fromPartial({ podSandboxId: id }), AbortSignal.timeout(60_000));
    await client.call("removePodSandbox", RemovePodSandboxRequest.fromPartial({ podSandboxId: id }), AbortSignal.timeout(60_000));
  }
  return items.length === 1 ? "1 pod" : `${items.length} pods`;
}
