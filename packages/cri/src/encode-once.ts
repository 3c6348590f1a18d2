import { Container, PodSandbox } from "./gen/runtime/v1/api.ts";
import type { CallName } from "./service.ts";

/** How lists are encoded, by call: in all of these answers the items are field 1, and there is no other field. */
const lists = {
  listContainers: (response: { containers: readonly Container[] }) => encodeList(response.containers, Container),
  streamContainers: (response: { containers: readonly Container[] }) => encodeList(response.containers, Container),
  listPodSandbox: (response: { items: readonly PodSandbox[] }) => encodeList(response.items, PodSandbox),
  streamPodSandboxes: (response: { podSandboxes: readonly PodSandbox[] }) =>
    encodeList(response.podSandboxes, PodSandbox),
} satisfies { [N in CallName]?: unknown };

/**
 * The encoder of calls whose answer is a list that clients poll: it encodes each item once while its object lives, and
 * each list once while its array lives, so that a repeated answer costs about a copy. Handlers of these calls must not
 * change an item or array that they have returned, and should return the same one while it is unchanged. Undefined for
 * other calls.
 */
export function listSerializerOf(name: string): ((response: unknown) => Buffer) | undefined {
  return Object.hasOwn(lists, name) ? (lists[name as keyof typeof lists] as (response: unknown) => Buffer) : undefined;
}

interface Codec<T> {
  encode(item: T): { finish(): Uint8Array };
}

/** The bytes of items, after the field's tag and length, and of arrays of items. */
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

/** Field 1, length-delimited: https://protobuf.dev/programming-guides/encoding/#length-types */
function asField1(message: Uint8Array): Uint8Array {
  const head = [0x0a];
  let length = message.length;
  for (; length > 0x7f; length >>>= 7) head.push((length & 0x7f) | 0x80);
  head.push(length);
  return Buffer.concat([Uint8Array.from(head), message]);
}
