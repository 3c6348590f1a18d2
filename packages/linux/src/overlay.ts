import { native } from "./native.ts";

const methods = { auto: 0, fsconfig: 1, mount: 2, "mount-fds": 3 } as const;

export interface OverlayOptions {
  /** Absolute, uppermost first; the kernel takes up to 500. */
  lowerDirs: readonly string[];
  /** Absolute; without it the mount is read-only. */
  upperDir?: string;
  /** Absolute, empty, on the file system of upperDir. */
  workDir?: string;
  target: string;
  readonly?: boolean;
  /** Never sync the upper layer: what was written is lost, or the mount refused, after a crash. Linux 5.10. */
  volatile?: boolean;
  /** More options of overlayfs, "metacopy=on". */
  options?: readonly string[];
  /** Which calls to use; "auto" is the newest that this kernel has. "mount" is for Linux before 6.7. */
  method?: keyof typeof methods;
}

function overlay(options: OverlayOptions, async: boolean): Promise<void> | undefined {
  const { upperDir = null, workDir = null, target } = options;
  for (const path of [target, ...options.lowerDirs, upperDir ?? "/", workDir ?? "/"]) {
    if (!path.startsWith("/")) throw new TypeError(`mount overlay on ${target}: ${path} must be an absolute path`);
  }
  if ((upperDir === null) !== (workDir === null))
    throw new TypeError(`mount overlay on ${target}: upperDir and workDir go together`);
  // index=off: with the index a lower layer cannot be shared by several mounts that have other layers below it,
  // and a copied upper layer is refused.
  const mountOptions = upperDir === null ? [] : ["index=off", ...(options.volatile ? ["volatile"] : [])];
  mountOptions.push(...(options.options ?? []));
  return native.overlay(
    target,
    options.lowerDirs,
    upperDir,
    workDir,
    mountOptions,
    options.readonly ?? false,
    methods[options.method ?? "auto"],
    async,
  );
}

/** Mounts an overlay of any number of layers with paths of any length and characters. Throws SystemError, with what overlayfs said of it. */
export function mountOverlay(options: OverlayOptions): void {
  void overlay(options, false);
}

/** The same on libuv's pool: it reads each layer's root, and empties workDir. */
export async function mountOverlayAsync(options: OverlayOptions): Promise<void> {
  await overlay(options, true);
}
