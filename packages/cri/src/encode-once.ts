import { Container, PodSandbox } from "./gen/runtime/v1/api.ts";
import type { CallName } from "./service.ts";

/** What the items of a list are encoded with; in all of these answers the items are field 1, and there is nothing else. */
const lists = {
  listContainers: (response: { containers: readonly Container[] }) => encodeList(response.containers, Container),
  streamContainers: (response: { containers: readonly Container[] }) => encodeList(response.containers, Container),
  listPodSandbox: (response: { items: readonly PodSandbox[] }) => encodeList(response.items, PodSandbox),
  streamPodSandboxes: (response: { podSandboxes: readonly PodSandbox[] }) =>
    encodeList(response.podSandboxes, PodSandbox),
} satisfies { [N in CallName]?: unknown };

/**
 * How the answer of a call is encoded when it is a list that is asked for again and again: each item once, as long as
 * its object lives, and a list as a whole once, as long as its array lives, so that it costs about a copy. Whoever
 * answers such a call never changes an item or an array that it gave, and gives the same one for what is unchanged.
 * undefined for other calls.
 */
export function listSerializerOf(name: string): ((response: unknown) => Buffer) | undefined {
  return Object.hasOwn(lists, name) ? (lists[name as keyof typeof lists] as (response: unknown) => Buffer) : undefined;
}

interface Codec<T> {
  encode(item: T): { finish(): Uint8Array };
}

/** Bytes by item, with the field's tag and length before them, and by array of items. */
const encodedItems = new WeakMap<object, Uint8Array>();
const encodedLists = new WeakMap<readonly object[], Buffer>();

function encodeList<T extends object>(items: readonly T[], codec: Codec<T>): Buffer {
  let list = encodedLists.get(items);
  if (list === undefined) encodedLists.set(items, (list = Buffer.concat(items.map((item) => encodeItem(item, codec)))));
  return list;
}

function encodeItem<T extends object>(item: T, codec: Codec<T>): Uint8Array {
  let bytes = encodedItems.get(item);
  if (bytes === undefined) encodedItems.set(item, (bytes = asField1(codec.encode(item).finish())));
  return bytes;
}

/** Field 1, of a length: https://protobuf.dev/programming-guides/encoding/#length-types */
function asField1(message: Uint8Array): Uint8Array {
  const head = [0x0a];
  let length = message.length;
  for (; length > 0x7f; length >>>= 7) head.push((length & 0x7f) | 0x80);
  head.push(length);
  return Buffer.concat([Uint8Array.from(head), message]);
}
