import { Code, codeOf } from "@keelson/base/status.ts";
import { type ContainerStatus, ContainerStatusRequest, PodSandboxStatusRequest } from "@keelson/cri/gen/runtime/v1/api.ts";
import { forEachAtOnce } from "./each.ts";
import type { Session } from "./session.ts";

/** The statuses of containers, for what lists do not tell. One that is removed meanwhile is left out. */
export async function containerStatuses({ runtime }: Session, ids: readonly string[]): Promise<Map<string, ContainerStatus>> {
  const statuses = new Map<string, ContainerStatus>();
  const ask = (id: string) => unlessGone(runtime.call("containerStatus", ContainerStatusRequest.fromPartial({ containerId: id })));
  await forEachAtOnce(ids, ask, async (response) => {
    if (response?.status !== undefined) statuses.set(response.status.id, response.status);
  });
  return statuses;
}

/** All addresses of pods; of one without a network of its own, or removed meanwhile, none. */
export async function podIps({ runtime }: Session, ids: readonly string[]): Promise<Map<string, string>> {
  const ips = new Map<string, string>();
  const ask = (id: string) => unlessGone(runtime.call("podSandboxStatus", PodSandboxStatusRequest.fromPartial({ podSandboxId: id })));
  await forEachAtOnce([...new Set(ids)], ask, async (response) => {
    const network = response?.status?.network;
    const all = network === undefined ? [] : [network.ip, ...network.additionalIps.map(({ ip }) => ip)].filter((ip) => ip !== "");
    if (response?.status !== undefined) ips.set(response.status.id, all.join(","));
  });
  return ips;
}

async function unlessGone<T>(call: Promise<T>): Promise<T | undefined> {
  try {
    return await call;
  } catch (error) {
    if (codeOf(error) === Code.NotFound) return undefined;
    throw error;
  }
}
