import { invalidField, quote } from "./field-check.ts";

/** What the daemon's configuration says about /dev/shm. */
export interface ShmPolicy {
  readonly defaultBytes: number;
  /** Whether pods may choose another size with an annotation. */
  readonly annotationIsAllowed: boolean;
}

/** Docker's first default, which containerd and CRI-O still have. */
export const defaultShmBytes = 64 * 1024 * 1024;

/** CRI-O's annotation; the CRI has no field for the size. */
export const shmSizeAnnotation = "io.kubernetes.cri-o.ShmSize";

const unitBytes: Readonly<Record<string, number>> = { "": 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30, t: 2 ** 40 };

/**
 * The size of a pod's /dev/shm in bytes. Where the annotation is not allowed, it is ignored like any unknown one.
 * Throws InvalidArgument for a value that is not a size, or is 0, which would mean no limit (tmpfs(5)).
 */
export function planShmSize(annotations: Readonly<Record<string, string>>, policy: ShmPolicy): number {
  const text = Object.hasOwn(annotations, shmSizeAnnotation) ? annotations[shmSizeAnnotation]! : undefined;
  if (text === undefined || !policy.annotationIsAllowed) return policy.defaultBytes;
  const [, digits, unit] = /^(\d{1,15})([kmgt]?)(?:i?b?)$/i.exec(text) ?? [];
  const bytes = Number(digits) * (unitBytes[unit?.toLowerCase() ?? ""] ?? Number.NaN);
  if (!(bytes > 0 && Number.isSafeInteger(bytes)))
    throw invalidField(
      `annotations["${shmSizeAnnotation}"]`,
      `${quote(text)} must be a size over 0 such as 128Mi or 1Gi`,
    );
  return bytes;
}
