import { Code, codeName, StatusError } from "@keelson/base/status.ts";
import { FieldReader, FieldWriter } from "./protobuf.ts";

/** A call's metadata: keys in lower case, each with its values. */
export type Metadata = ReadonlyMap<string, readonly string[]>;

/** ttrpc.Request. */
export interface Request {
  readonly service: string;
  readonly method: string;
  readonly payload: Uint8Array;
  /** How long the caller waits, in ns; 0 for ever. */
  readonly timeoutNs: bigint;
  readonly metadata: Metadata;
}

/** ttrpc.Response: `error` is its google.rpc.Status unless that is OK, without the details. */
export interface Response {
  readonly error: StatusError | undefined;
  readonly payload: Uint8Array;
}

/** Limited because an empty value takes two bytes on the wire but many in memory. */
const maxMetadataValues = 1024;

const emptyPayload: Buffer = Buffer.alloc(0);
const knownCodes = new Set<number>(Object.values(Code));

export function encodeRequest(request: Request): Buffer {
  const writer = new FieldWriter()
    .text(1, request.service)
    .text(2, request.method)
    .bytes(3, request.payload)
    .signed(4, request.timeoutNs);
  for (const [key, values] of request.metadata) {
    for (const value of values) writer.message(5, new FieldWriter().text(1, key).text(2, value).finish());
  }
  return writer.finish();
}

/** Throws InvalidArgument. The payload is a part of the bytes, not a copy. */
export function decodeRequest(bytes: Buffer): Request {
  const fail = (what: string) => new StatusError(Code.InvalidArgument, `ttrpc: the request ${what}`);
  const reader = new FieldReader(bytes, fail);
  const metadata = new Map<string, string[]>();
  let [service, method, payload, timeoutNs] = ["", "", emptyPayload, 0n];
  let values = 0;
  for (let field = reader.next(); field !== undefined; field = reader.next()) {
    if (field === 1) service = reader.text();
    else if (field === 2) method = reader.text();
    else if (field === 3) payload = reader.bytes();
    else if (field === 4) timeoutNs = reader.signed();
    else if (field === 5) {
      values += 1;
      if (values > maxMetadataValues) throw fail(`has more than ${maxMetadataValues} values of metadata`);
      const [key, value] = decodeKeyValue(reader.bytes(), fail);
      const list = metadata.get(key);
      if (list === undefined) metadata.set(key, [value]);
      else list.push(value);
    } else reader.skip();
  }
  return { service, method, payload, timeoutNs, metadata };
}

/** Keys in lower case, as ttrpc's implementation in Go looks them up. */
function decodeKeyValue(bytes: Buffer, fail: (what: string) => Error): [string, string] {
  const reader = new FieldReader(bytes, fail);
  let [key, value] = ["", ""];
  for (let field = reader.next(); field !== undefined; field = reader.next()) {
    if (field === 1) key = reader.text();
    else if (field === 2) value = reader.text();
    else reader.skip();
  }
  return [key.toLowerCase(), value];
}

/** With a status even when that is OK: older ttrpc clients in Go take its absence for an error. */
export function encodeResponse(
  response: { readonly code: Code; readonly message: string } | { readonly payload: Uint8Array },
): Buffer {
  if ("payload" in response) return new FieldWriter().message(1, emptyPayload).bytes(2, response.payload).finish();
  return new FieldWriter()
    .message(1, new FieldWriter().signed(1, BigInt(response.code)).text(2, response.message).finish())
    .finish();
}

/** Throws Internal. The payload is a part of the bytes, not a copy. A response without a status is OK, as for peers in Go. */
export function decodeResponse(bytes: Buffer): Response {
  const fail = (what: string) => new StatusError(Code.Internal, `ttrpc: the peer's response ${what}`);
  const reader = new FieldReader(bytes, fail);
  let payload = emptyPayload;
  let status = { code: 0, message: emptyPayload };
  for (let field = reader.next(); field !== undefined; field = reader.next()) {
    if (field === 1) status = decodeStatus(reader.bytes(), status, fail);
    else if (field === 2) payload = reader.bytes();
    else reader.skip();
  }
  return { error: status.code === Code.Ok ? undefined : statusError(status.code, status.message.toString()), payload };
}

/** A message that comes in two parts is merged, by protobuf's rules. Invalid UTF-8 is replaced. */
function decodeStatus(
  bytes: Buffer,
  { code, message }: { code: number; message: Buffer },
  fail: (what: string) => Error,
): { code: number; message: Buffer } {
  const reader = new FieldReader(bytes, fail);
  for (let field = reader.next(); field !== undefined; field = reader.next()) {
    if (field === 1) code = Number(BigInt.asIntN(32, reader.signed()));
    else if (field === 2) message = reader.bytes();
    else reader.skip();
  }
  return { code, message };
}

function statusError(code: number, message: string): StatusError {
  if (knownCodes.has(code)) return new StatusError(code as Code, message);
  return new StatusError(Code.Unknown, `${codeName(code)}: ${message}`);
}
