/**
 * A way to authenticate, offered in WWW-Authenticate (RFC 9110, 11.3): the scheme in lower case, and its parameters.
 */
export interface Challenge {
  scheme: string;
  parameters: Map<string, string>;
}

/** How much of a header is parsed. */
const limit = 8192;

/**
 * Parses the challenges in a WWW-Authenticate header, up to the first thing that cannot be parsed: servers send many
 * things here, and an unknown one is not an error.
 */
export function parseChallenges(header: string): Challenge[] {
  const challenges: Challenge[] = [];
  // Either `name=value`, or a single word, which begins the next challenge.
  const part =
    /[\s,]*(?:([\w!#$%&'*+.^`|~-]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s,"=]+))|([\w!#$%&'*+.^`|~-]+)(?=[\s,]|$))/y;
  const text = header.slice(0, limit);
  for (let match = part.exec(text); match !== null; match = part.exec(text)) {
    const [, name, quoted, plain, scheme] = match;
    if (scheme !== undefined) challenges.push({ scheme: scheme.toLowerCase(), parameters: new Map() });
    else challenges.at(-1)?.parameters.set((name ?? "").toLowerCase(), quoted?.replace(/\\(.)/g, "$1") ?? plain ?? "");
  }
  return challenges;
}
