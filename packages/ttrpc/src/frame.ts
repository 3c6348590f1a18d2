/** The types of frames (ttrpc: Message Frame). Others are skipped, as later versions may have more. */
export const MessageType = { request: 1, response: 2, data: 3 } as const;

/** The sender sends nothing more on this stream. */
export const flagRemoteClosed = 1;
/** In a request: the sender's data will follow. */
export const flagRemoteOpen = 2;
/**
 * In data: it holds no message, not even an empty one. The protocol's text does not have this flag, but its implementations
 * in Go and Rust do, and take an empty frame without it for an empty message.
 */
export const flagNoData = 4;

/** The most data that a frame may hold, in bytes. */
export const maxMessageBytes = 4 * 1024 * 1024;

/** The head before the data: the data's length (4 bytes, the first reserved), the stream's number (4), the type, the flags. */
export const headBytes = 10;

export const maxStreamId = 0xffffffff;

/** A frame as it was read. Of one that is too long only the head is kept. */
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
