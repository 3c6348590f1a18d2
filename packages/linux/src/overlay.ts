import { native } from "./native.ts";

const methods = { auto: 0, fsconfig: 1, mount: 2, "mount-fds": 3 } as const;

export interface OverlayOptions {
  /** Absolute, uppermost first; the kernel takes up to 500. */
  lowerDirs: readonly string[];
  /** Absolute. Without it the mount is read-only. */
  upperDir?: string;
  /** Absolute, empty, and on the file system of upperDir. */
  workDir?: string;
  target: string;
  readonly?: boolean;
  /** Never sync the upper layer: after a crash what was written is lost, or the mount is refused. Needs Linux 5.10. */
  volatile?: boolean;
  /** More options of overlayfs: "metacopy=on". */
  options?: readonly string[];
  /** Which calls to use; "auto" is the newest that this kernel has. "mount" is for Linux before 6.7. */
  method?: keyof typeof methods;
}

function overlayCall(options: OverlayOptions): Parameters<typeof native.overlay>[0] {
  const { upperDir = null, workDir = null, target } = options;
  for (const path of [target, ...options.lowerDirs, upperDir ?? "/", workDir ?? "/"]) {
    if (!path.startsWith("/")) throw new TypeError(`mount overlay on ${target}: ${path} must be an absolute path`);
  }
  if ((upperDir === null) !== (workDir === null))
    throw new TypeError(`mount overlay on ${target}: upperDir and workDir go together`);
  // index=off: with the index, mounts with different layers below a lower layer could not share it, and a copied upper
  // layer would be refused.
  const mountOptions = upperDir === null ? [] : ["index=off", ...(options.volatile ? ["volatile"] : [])];
  mountOptions.push(...(options.options ?? []));
  return {
    target,
    lowerDirs: options.lowerDirs,
    upperDir,
    workDir,
    options: mountOptions,
    isReadonly: options.readonly ?? false,
    method: methods[options.method ?? "auto"],
  };
}

/**
 * Mounts an overlay of any number of layers, whose paths may have any length and characters. Throws SystemError, with
 * overlayfs's own message.
 */
export function mountOverlay(options: OverlayOptions): void {
  native.overlay(overlayCall(options));
}

/** The same on libuv's pool, because the kernel reads each layer's root and empties workDir. */
export async function mountOverlayAsync(options: OverlayOptions): Promise<void> {
  await native.overlayAsync(overlayCall(options));
}
