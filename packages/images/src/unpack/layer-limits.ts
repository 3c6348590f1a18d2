import { Code, StatusError } from "@keelson/base/status.ts";

/** The limits for a layer: a small download must not fill the disk. Plain data, for a worker thread. */
export interface LayerLimits {
  /** The size of the uncompressed tar. */
  maxBytes: number;
  /** How many times its compressed size the tar may have; only checked above `ratioFreeBytes`. */
  maxRatio: number;
  maxEntries: number;
  /** The length of an entry's name, in bytes. */
  maxPathBytes: number;
}

/** Up to this size any ratio is allowed: a file of zeros may well shrink to a thousandth, and does no harm. */
const ratioFreeBytes = 256 * 1024 * 1024;

/** Throws ResourceExhausted, naming the configuration's key, when `unpackedBytes` exceeds a limit. */
export function checkUnpackedBytes(limits: LayerLimits, compressedBytes: number, unpackedBytes: number): void {
  if (unpackedBytes > limits.maxBytes)
    throw tooMuch(`unpacks to more than ${limits.maxBytes} bytes`, "max_layer_bytes");
  if (unpackedBytes > Math.max(ratioFreeBytes, compressedBytes * limits.maxRatio)) {
    throw tooMuch(`unpacks to more than ${limits.maxRatio} times its ${compressedBytes} bytes`, "max_layer_ratio");
  }
}

/** Throws ResourceExhausted, naming the configuration's key. */
export function checkEntries(limits: LayerLimits, entries: number): void {
  if (entries > limits.maxEntries)
    throw tooMuch(`the layer has more than ${limits.maxEntries} entries`, "max_layer_entries");
}

/** Throws ResourceExhausted, naming the configuration's key. */
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
