/** SPDY/3.1, 2.6: types of control frames. */
export const FrameType = {
  synStream: 1,
  synReply: 2,
  rstStream: 3,
  settings: 4,
  ping: 6,
  goAway: 7,
  headers: 8,
  windowUpdate: 9,
} as const;

export const flagFin = 1;
export const flagUnidirectional = 2;

/** 2.6.3: why a stream was reset. */
export const RstStatus = {
  protocolError: 1,
  invalidStream: 2,
  refusedStream: 3,
  unsupportedVersion: 4,
  cancel: 5,
  internalError: 6,
  flowControlError: 7,
  streamInUse: 8,
  streamAlreadyClosed: 9,
  frameTooLarge: 11,
} as const;

const rstNames = new Map<number, string>(
  Object.entries(RstStatus).map(([name, code]) => [code, name.replace(/[A-Z]/g, (c) => `_${c}`).toUpperCase()]),
);

/** The specification's name, such as REFUSED_STREAM. */
export function rstStatusName(status: number): string {
  return rstNames.get(status) ?? `status ${status}`;
}

/** 2.6.6: why a session ends. */
export const GoAwayStatus = { ok: 0, protocolError: 1, internalError: 2 } as const;

/** 2.6.4: the only setting that matters here. */
export const settingInitialWindowSize = 7;

/** 2.6.8: the window of each stream, and of the session, until a frame changes it. */
export const initialWindowBytes = 64 * 1024;
export const maxWindowBytes = 0x7fffffff;
export const maxStreamId = 0x7fffffff;

/** A frame as it was read. A data frame may come in pieces, of which only the last one has the frame's `isFin`. */
export type Frame =
  | { readonly type: "data"; readonly streamId: number; readonly data: Buffer; readonly isFin: boolean }
  | {
      readonly type: "synStream";
      readonly streamId: number;
      readonly isFin: boolean;
      readonly isUnidirectional: boolean;
      readonly headerBlock: Buffer;
    }
  | { readonly type: "synReply"; readonly streamId: number; readonly isFin: boolean; readonly headerBlock: Buffer }
  | { readonly type: "headers"; readonly streamId: number; readonly isFin: boolean; readonly headerBlock: Buffer }
  | { readonly type: "rstStream"; readonly streamId: number; readonly status: number }
  | { readonly type: "settings"; readonly initialWindowBytes: number | undefined }
  | { readonly type: "ping"; readonly id: number }
  | { readonly type: "goAway"; readonly lastStreamId: number; readonly status: number }
  | { readonly type: "windowUpdate"; readonly streamId: number; readonly deltaBytes: number };

/** The eight bytes before the data. */
export function dataFrameHead(streamId: number, lengthBytes: number, isFin: boolean): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt32BE(streamId);
  head.writeUInt32BE((((isFin ? flagFin : 0) << 24) | lengthBytes) >>> 0, 4);
  return head;
}

export function synStreamFrame(streamId: number, flags: number, headerBlock: Uint8Array): Buffer {
  const fixed = Buffer.alloc(10);
  fixed.writeUInt32BE(streamId);
  return controlFrame(FrameType.synStream, flags, [fixed, headerBlock]);
}

export function synReplyFrame(streamId: number, flags: number, headerBlock: Uint8Array): Buffer {
  return controlFrame(FrameType.synReply, flags, [uint32s(streamId), headerBlock]);
}

export function rstStreamFrame(streamId: number, status: number): Buffer {
  return controlFrame(FrameType.rstStream, 0, [uint32s(streamId, status)]);
}

export function settingsFrame(initialWindowBytes: number): Buffer {
  return controlFrame(FrameType.settings, 0, [uint32s(1, settingInitialWindowSize, initialWindowBytes)]);
}

export function pingFrame(id: number): Buffer {
  return controlFrame(FrameType.ping, 0, [uint32s(id)]);
}

export function goAwayFrame(lastStreamId: number, status: number): Buffer {
  return controlFrame(FrameType.goAway, 0, [uint32s(lastStreamId, status)]);
}

export function windowUpdateFrame(streamId: number, deltaBytes: number): Buffer {
  return controlFrame(FrameType.windowUpdate, 0, [uint32s(streamId, deltaBytes)]);
}

function controlFrame(type: number, flags: number, body: readonly Uint8Array[]): Buffer {
  const length = body.reduce((sum, part) => sum + part.length, 0);
  return Buffer.concat([uint32s((0x80030000 | type) >>> 0, ((flags << 24) | length) >>> 0), ...body]);
}

function uint32s(...values: number[]): Buffer {
  const bytes = Buffer.alloc(4 * values.length);
  values.forEach((value, i) => bytes.writeUInt32BE(value, 4 * i));
  return bytes;
}
