/** Which annotations of pods and containers a handler's runtime may see. */
export interface AnnotationGlobs {
  readonly pod: readonly string[];
  readonly container: readonly string[];
}

/** For a handler whose section names none. */
export const noAnnotations: AnnotationGlobs = { pod: [], container: [] };

/** Whether a text can be a pattern: the key of an annotation, at most 317 characters, which may contain `*` and `?`. */
export function isAnnotationGlob(text: string): boolean {
  return /^[-A-Za-z0-9_./*?]{1,317}$/.test(text);
}

/** A CRI runtime describes containers with these keys; nobody else may set them. */
const ours = /^io\.kubernetes\.cri(-o)?\./;

/**
 * The annotations that a container's spec takes from its pod and from the container, sorted; the container's win. As in
 * containerd's configuration, `*` stands for any characters except `/`, and `?` for one such character.
 */
export function passedAnnotations(
  globs: AnnotationGlobs,
  pod: Readonly<Record<string, string>>,
  container: Readonly<Record<string, string>> = {},
): Record<string, string> {
  const passed = { ...matching(globs.pod, pod), ...matching(globs.container, container) };
  return Object.fromEntries(Object.entries(passed).sort(([a], [b]) => (a < b ? -1 : 1)));
}

function matching(globs: readonly string[], annotations: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(annotations).filter(([key]) => !ours.test(key) && globs.some((glob) => matches(glob, key))),
  );
}

/** Backtracks to the last `*` only, so the time is bounded by the product of the lengths. */
function matches(glob: string, key: string): boolean {
  let at = 0;
  let star: { glob: number; key: number } | undefined;
  for (let i = 0; i < key.length;) {
    if (glob[at] === "*") {
      star = { glob: at, key: i };
      at += 1;
    } else if (glob[at] === key[i] || (glob[at] === "?" && key[i] !== "/")) {
      at += 1;
      i += 1;
    } else if (star !== undefined && key[star.key] !== "/") {
      star.key += 1;
      i = star.key;
      at = star.glob + 1;
    } else {
      return false;
    }
  }
  return /^\**$/.test(glob.slice(at));
}
