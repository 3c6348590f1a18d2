/** CRI: every pair of the selector must be among the labels. */
export function hasLabels(labels: Readonly<Record<string, string>>, selector: Readonly<Record<string, string>>): boolean {
  return Object.entries(selector).every(([key, value]) => Object.hasOwn(labels, key) && labels[key] === value);
}

/**
 * The ids that a filter's id stands for: `undefined` for no filter. Ids may be shortened; one that
 * is nobody's, or several's, matches nothing rather than failing the list.
 */
export function idMatches(filterId: string, ids: Iterable<string>): (id: string) => boolean {
  if (filterId === "") return () => true;
  const matching = [...ids].filter((id) => id.startsWith(filterId));
  const wanted = matching.length === 1 ? matching[0] : filterId;
  return (id) => id === wanted;
}
