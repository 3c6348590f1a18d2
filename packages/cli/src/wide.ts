import { Code, codeOf } from "@keelson/base/status.ts";
import {
  type ContainerStatus,
  ContainerStatusRequest,
  PodSandboxStatusRequest,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import { forEachAtOnce } from "./each.ts";
import type { Session } from "./session.ts";

/** The statuses of containers, for what lists do not tell. One that is removed meanwhile is left out. */
export async function containerStatuses(
  { runtime }: Session,
  ids: readonly string[],
): Promise<Map<string, ContainerStatus>> {
  const statuses = new Map<string, ContainerStatus>();
  const ask = (id: string) =>
    unlessGone(runtime.call("containerStatus", ContainerStatusRequest.fromPartial({ containerId: id })));
  await forEachAtOnce(ids, ask, async (response) => {
    if (response?.status !== undefined) statuses.set(response.status.id, response.status);
  });
  return statuses;
}

/** What lists of pods do not tell. */
export interface PodDetails {
  /** All its addresses; empty without a network of its own. */
  readonly ips: string;
  /** The handler that runs it, where the pod's own name for it is "" and the runtime tells; else empty. */
  readonly handler: string;
}

/** The details of pods; one that is removed meanwhile is left out. */
export async function podDetails({ runtime }: Session, ids: readonly string[]): Promise<Map<string, PodDetails>> {
  const details = new Map<string, PodDetails>();
  const ask = (id: string) =>
    unlessGone(
      runtime.call("podSandboxStatus", PodSandboxStatusRequest.fromPartial({ podSandboxId: id, verbose: true })),
    );
  await forEachAtOnce([...new Set(ids)], ask, async (response) => {
    const network = response?.status?.network;
    const all =
      network === undefined ? [] : [network.ip, ...network.additionalIps.map(({ ip }) => ip)].filter((ip) => ip !== "");
    if (response?.status !== undefined)
      details.set(response.status.id, { ips: all.join(","), handler: handlerIn(response.info["info"]) });
  });
  return details;
}

/** keelsond's info["info"] names the handler that stands behind the default one. */
function handlerIn(info = "{}"): string {
  try {
    const { handler } = JSON.parse(info) as { handler?: unknown };
    return typeof handler === "string" ? handler : "";
  } catch {
    return "";
  }
}

/** A pod's handler by the name that the pod has for it, and what is behind the default where that is known. */
export function handlerText(name: string, details?: PodDetails): string {
  if (name !== "") return name;
  return details === undefined || details.handler === "" ? "(default)" : `${details.handler} (default)`;
}

async function unlessGone<T>(call: Promise<T>): Promise<T | undefined> {
  try {
    return await call;
  } catch (error) {
    if (codeOf(error) === Code.NotFound) return undefined;
    throw error;
  }
}
