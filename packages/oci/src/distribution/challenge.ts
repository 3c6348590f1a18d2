/** One way to authenticate that a server offers in WWW-Authenticate (RFC 9110, 11.3): the scheme in lower case and its parameters. */
export interface Challenge {
  scheme: string;
  parameters: Map<string, string>;
}

/** The longest header that is looked at. */
const limit = 8192;

/**
 * Reads the challenges of a WWW-Authenticate header. What cannot be read ends the list: servers
 * send many things here, and an unknown one is no reason to stop.
 */
export function parseChallenges(header: string): Challenge[] {
  const challenges: Challenge[] = [];
  // Either `name=value` or a word by itself, which begins the next challenge.
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
