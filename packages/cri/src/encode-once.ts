import { Container, PodSandbox } from "./gen/runtime/v1/api.ts";
import type { CallName } from "./service.ts";

/** What the items of a list are encoded with; in all of these answers the items are field 1, and there is nothing else. */
const lists = {
  listContainers: (response: { containers: readonly Container[] }) => encodeList(response.containers, Container),
  streamContainers: (response: { containers: readonly Container[] }) => encodeList(response.containers, Container),
  listPodSandbox: (response: { items: readonly PodSandbox[] }) => encodeList(response.items, PodSandbox),
  streamPodSandboxes: (response: { podSandboxes: readonly PodSandbox[] }) => encodeList(response.podSandboxes, PodSandbox),
} satisfies { [N in CallName]?: unknown };

/**
 * How the answer of a call is encoded when it is a list that is asked for again and again: each item once, as long as
 * its object lives, so that the list costs about a copy. Whoever answers such a call never changes an item, and gives
 * the same object for what is unchanged. undefined for other calls.
 */
export function listSerializerOf(name: string): ((response: unknown) => Buffer) | undefined {
  return Object.hasOwn(lists, name) ? (lists[name as keyof typeof lists] as (response: unknown) => Buffer) : undefined;
}

interface Codec<T> {
  encode(item: T): { finish(): Uint8Array };
}

/** Bytes by item, with the field's tag and length before them. */
const encoded = new WeakMap<object, Uint8Array>();

function encodeList<T extends object>(items: readonly T[], codec: Codec<T>): Buffer {
  const parts = items.map((item) => {
    let bytes = encoded.get(item);
    if (bytes === undefined) encoded.set(item, (bytes = asField1(codec.encode(item).finish())));
    return bytes;
  });
  return Buffer.concat(parts);
}

/** Field 1, of a length: https://protobuf.dev/programming-guides/encoding/#length-types */
function asField1(message: Uint8Array): Uint8Array {
  const head = [0x0a];
  let length = message.length;
  for (; length > 0x7f; length >>>= 7) head.push((length & 0x7f) | 0x80);
  head.push(length);
  return Buffer.concat([Uint8Array.from(head), message]);
}
