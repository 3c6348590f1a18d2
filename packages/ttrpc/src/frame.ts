/** ttrpc, Message Frame: what a frame is; other types are skipped, for versions to come. */
export const MessageType = { request: 1, response: 2, data: 3 } as const;

/** The sender sends no more on this stream. */
export const flagRemoteClosed = 1;
/** Of a request: data of the sender will follow. */
export const flagRemoteOpen = 2;
/**
 * Of data: there is no message in it, not even an empty one. The protocol's text does not have it; its implementations
 * in Go and Rust do, and read an empty frame without it as an empty message.
 */
export const flagNoData = 4;

/** The most that the data of a frame may come to, in bytes. */
export const maxMessageBytes = 4 * 1024 * 1024;

/** Before the data: its length (4 bytes, the first one reserved), the stream's number (4), the type, the flags. */
export const headBytes = 10;

export const maxStreamId = 0xffffffff;

/** A frame as it was read. Of one that is too long only the head is told, and the rest is thrown away. */
export type Frame =
  | { readonly type: "request"; readonly streamId: number; readonly flags: number; readonly data: Buffer }
  | { readonly type: "response"; readonly streamId: number; readonly flags: number; readonly data: Buffer }
  | { readonly type: "data"; readonly streamId: number; readonly flags: number; readonly data: Buffer }
  | { readonly type: "tooLong"; readonly streamId: number; readonly lengthBytes: number };

/** A whole frame. The caller has checked the length. */
export function frame(type: keyof typeof MessageType, streamId: number, flags: number, data: Uint8Array): Buffer {
  const bytes = Buffer.allocUnsafe(headBytes + data.length);
  bytes.writeUInt32BE(data.length, 0);
  bytes.writeUInt32BE(streamId, 4);
  bytes[8] = MessageType[type];
  bytes[9] = flags;
  bytes.set(data, headBytes);
  return bytes;
}
