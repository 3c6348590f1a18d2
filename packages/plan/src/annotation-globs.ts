/** Which annotations of pods and containers a handler's runtime gets to see. */
export interface AnnotationGlobs {
  readonly pod: readonly string[];
  readonly container: readonly string[];
}

/** That of a handler whose section names none. */
export const noAnnotations: AnnotationGlobs = { pod: [], container: [] };

/** Whether it can be a pattern: the key of an annotation, 317 characters at most, with `*` and `?` in it. */
export function isAnnotationGlob(text: string): boolean {
  return /^[-A-Za-z0-9_./*?]{1,317}$/.test(text);
}

/** By these a CRI runtime tells what a container is; nobody else may. */
const ours = /^io\.kubernetes\.cri(-o)?\./;

/**
 * The annotations that a container's spec has from its pod and from itself, whose own win; sorted. As in containerd's
 * configuration, `*` stands for any characters but `/`, and `?` for one.
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

/** Goes back to the last `*` only, so the time is bounded by the product of the lengths. */
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
