import { Code, codeOf } from "@keelson/base/status.ts";
import {
  type ContainerStatus,
  ContainerStatusRequest,
  PodSandboxStatusRequest,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import { forEachAtOnce } from "./each.ts";
import type { Session } from "./session.ts";

/** The statuses of containers, for what lists leave out. A container that is removed meanwhile is skipped. */
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

/** What lists of pods leave out. */
export interface PodDetails {
  /** All its addresses; empty when the pod has no network of its own. */
  readonly ips: string;
  /** The handler that runs it, if the pod names none and the runtime says which it is; else empty. */
  readonly handler: string;
}

/** The details of pods; one that is removed meanwhile is skipped. */
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

/** keelsond's info["info"] names the handler that runs the pod. */
function handlerIn(info = "{}"): string {
  try {
    const { handler } = JSON.parse(info) as { handler?: unknown };
    return typeof handler === "string" ? handler : "";
  } catch {
    return "";
  }
}

/** The handler that a pod names, or that it has the default one, with its name if that is known. */
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
