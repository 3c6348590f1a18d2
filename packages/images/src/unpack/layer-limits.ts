import { Code, StatusError } from "@keelson/base/status.ts";

/** What a layer may come to: a small download must not fill the disk. Plain data: it goes to a worker thread. */
export interface LayerLimits {
  /** Of the tar archive in it. */
  maxBytes: number;
  /** How many times its compressed size a layer may unpack to; counts beyond `ratioFreeBytes`. */
  maxRatio: number;
  maxEntries: number;
  /** Of the name of an entry, in bytes. */
  maxPathBytes: number;
}

/** A file of zeros may well shrink by a thousand; what is no larger than this does no harm. */
export const ratioFreeBytes = 256 * 1024 * 1024;

/** Throws ResourceExhausted, naming the key of the configuration, when `unpackedBytes` are too many. */
export function checkUnpackedBytes(limits: LayerLimits, compressedBytes: number, unpackedBytes: number): void {
  if (unpackedBytes > limits.maxBytes)
    throw tooMuch(`unpacks to more than ${limits.maxBytes} bytes`, "max_layer_bytes");
  if (unpackedBytes > Math.max(ratioFreeBytes, compressedBytes * limits.maxRatio)) {
    throw tooMuch(`unpacks to more than ${limits.maxRatio} times its ${compressedBytes} bytes`, "max_layer_ratio");
  }
}

/** Throws ResourceExhausted, naming the key of the configuration. */
export function checkEntries(limits: LayerLimits, entries: number): void {
  if (entries > limits.maxEntries)
    throw tooMuch(`the layer has more than ${limits.maxEntries} entries`, "max_layer_entries");
}

/** Throws ResourceExhausted, naming the key of the configuration. */
export function checkPathBytes(limits: LayerLimits, pathBytes: number): void {
  if (pathBytes > limits.maxPathBytes)
    throw tooMuch(`its name has ${pathBytes} bytes, more than ${limits.maxPathBytes}`, "max_path_bytes");
}

function tooMuch(problem: string, key: string): StatusError {
  return new StatusError(
    Code.ResourceExhausted,
    `${problem}; if the image can be trusted, raise ${key} in [images] of the daemon's configuration`,
  );
}
