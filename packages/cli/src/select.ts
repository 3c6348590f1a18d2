import { Code, StatusError } from "@keelson/base/status.ts";
import {
  type Container,
  ContainerState,
  ImageStatusRequest,
  ListContainersRequest,
  ListPodSandboxRequest,
  type PodSandbox,
  PodSandboxState,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Session } from "./session.ts";
import { parseWhole } from "./settings.ts";

/** The flags that choose pods. */
export interface PodSelection {
  id?: string;
  name?: string;
  namespace?: string;
  state?: string;
  label?: string[];
  latest?: boolean;
  last?: string;
}

/** The flags that choose containers. */
export interface ContainerSelection extends PodSelection {
  pod?: string;
  image?: string;
  all?: boolean;
}

const podStates = { ready: PodSandboxState.SANDBOX_READY, notready: PodSandboxState.SANDBOX_NOTREADY } as const;
const containerStates = {
  created: ContainerState.CONTAINER_CREATED,
  running: ContainerState.CONTAINER_RUNNING,
  exited: ContainerState.CONTAINER_EXITED,
  unknown: ContainerState.CONTAINER_UNKNOWN,
} as const;

/** The pods that the flags choose, newest first. */
export async function selectPods(session: Session, flags: PodSelection): Promise<PodSandbox[]> {
  const name = pattern(flags.name, "--name");
  const namespace = pattern(flags.namespace, "--namespace");
  const state = flags.state === undefined ? undefined : { state: stateOf(podStates, flags.state) };
  const filter = { id: flags.id ?? "", state, labelSelector: parsePairs(flags.label ?? [], "--label") };
  const { items } = await session.runtime.call(
    "listPodSandbox",
    ListPodSandboxRequest.fromPartial({ filter: defined(filter) }),
  );
  const matching = items.filter(
    (pod) => name.test(pod.metadata?.name ?? "") && namespace.test(pod.metadata?.namespace ?? ""),
  );
  return newest(matching, flags);
}

/** The containers that the flags choose, newest first; without --all, --state, --latest, --last only running ones. */
export async function selectContainers(session: Session, flags: ContainerSelection): Promise<Container[]> {
  const name = pattern(flags.name, "--name");
  const namespace = pattern(flags.namespace, "--namespace");
  const filter = {
    id: flags.id ?? "",
    podSandboxId: flags.pod ?? "",
    state: containerStateOf(flags),
    labelSelector: parsePairs(flags.label ?? [], "--label"),
  };
  const { containers } = await session.runtime.call(
    "listContainers",
    ListContainersRequest.fromPartial({ filter: defined(filter) }),
  );
  const matching = containers.filter(
    (one) => name.test(one.metadata?.name ?? "") && namespace.test(podLabel(one, "namespace")),
  );
  return newest(await withImage(session, matching, flags.image), flags);
}

/** What a kubelet wrote on a container about its pod; `unknown` when it did not. */
export function podLabel(container: { labels: Record<string, string> }, what: "name" | "namespace"): string {
  return container.labels[`io.kubernetes.pod.${what}`] ?? "unknown";
}

/** `key=value` strings as a map. Throws InvalidArgument naming the flag. */
export function parsePairs(texts: readonly string[], what: string): Record<string, string> {
  const pairs: Record<string, string> = {};
  for (const text of texts) {
    const at = text.indexOf("=");
    if (at < 1) throw new StatusError(Code.InvalidArgument, `${what} ${text}: must be key=value`);
    pairs[text.slice(0, at)] = text.slice(at + 1);
  }
  return pairs;
}

/** A regular expression of the user's; Go's leading `(?i)` is understood. Throws InvalidArgument naming the flag. */
export function pattern(text: string | undefined, what: string): RegExp {
  const [, flags = "", source = ""] = /^(?:\(\?([ims]+)\))?([^]*)$/.exec(text ?? "")!;
  try {
    return new RegExp(source, flags);
  } catch (error) {
    throw new StatusError(Code.InvalidArgument, `${what} ${text}: not a regular expression`, error);
  }
}

function containerStateOf(flags: ContainerSelection): { state: ContainerState } | undefined {
  const wanted = flags.state === undefined ? undefined : { state: stateOf(containerStates, flags.state) };
  if (flags.latest === true || lastOf(flags) > 0) return undefined;
  return wanted ?? (flags.all === true ? undefined : { state: ContainerState.CONTAINER_RUNNING });
}

function stateOf<S>(states: Record<string, S>, given: string): S {
  const state = Object.hasOwn(states, given.toLowerCase()) ? states[given.toLowerCase()] : undefined;
  if (state === undefined)
    throw new StatusError(Code.InvalidArgument, `--state ${given}: must be one of ${Object.keys(states).join(", ")}`);
  return state;
}

function newest<T extends { createdAt: bigint }>(items: T[], flags: PodSelection): T[] {
  const sorted = items.toSorted((a, b) => Number(b.createdAt - a.createdAt));
  const last = lastOf(flags);
  return last > 0 ? sorted.slice(0, last) : flags.latest === true ? sorted.slice(0, 1) : sorted;
}

function lastOf(flags: PodSelection): number {
  return flags.last === undefined ? 0 : parseWhole(flags.last, "--last");
}

/** Containers name an image by tag, digest or id; only the runtime knows which of these mean the same image. */
async function withImage(session: Session, containers: Container[], wanted: string | undefined): Promise<Container[]> {
  if (wanted === undefined || wanted === "") return containers;
  const ids = new Map<string, Promise<string | undefined>>();
  const idOf = (image: string) => {
    const known = ids.get(image);
    if (known !== undefined) return known;
    const asked = session.image
      .call("imageStatus", ImageStatusRequest.fromPartial({ image: { image } }))
      .then(({ image }) => image?.id);
    ids.set(image, asked);
    return asked;
  };
  const wantedId = await idOf(wanted);
  if (wantedId === undefined) return [];
  const found = await Promise.all(containers.map((one) => idOf(one.image?.image ?? "")));
  return containers.filter((_, i) => found[i] === wantedId);
}

/** A copy without the properties that are undefined, as exact optional types require. */
function defined<T extends object>(value: T): { [K in keyof T]: NonNullable<T[K]> } {
  return Object.fromEntries(Object.entries(value).filter(([, v]) => v !== undefined)) as {
    [K in keyof T]: NonNullable<T[K]>;
  };
}
