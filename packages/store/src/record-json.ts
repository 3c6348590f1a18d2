/** A record as it is kept: JSON, with a bigint (nanoseconds, int64 limits) as {"$n": "123"}. */
export function recordText(record: unknown): string {
  return JSON.stringify(record, replaceBigint);
}

/** Reads what recordText made. Throws SyntaxError. */
export function parseRecordText(text: string): unknown {
  return JSON.parse(text, reviveBigint) as unknown;
}

/**
 * The members of a record that come before the place where its JSON is damaged; all of them when it is whole. None for
 * what is no object at all.
 */
export function wholeMembers(text: string): Readonly<Record<string, unknown>> {
  const found: [string, unknown][] = [];
  for (const member of membersIn(text)) {
    try {
      const [entry] = Object.entries(parseRecordText(`{${member}}`) as object);
      if (entry === undefined) break;
      found.push(entry);
    } catch {
      break;
    }
  }
  return Object.fromEntries(found);
}

/** What stands between the commas of the outermost object, as far as there is one. What the text breaks off in is left out: half a number is a number. */
function* membersIn(text: string): Generator<string> {
  let from = text.indexOf("{") + 1;
  if (from === 0 || text.slice(0, from).trim() !== "{") return;
  let depth = 1;
  let isInString = false;
  for (let at = from; at < text.length && depth > 0; at += 1) {
    const char = text[at];
    if (isInString) {
      if (char === "\\") at += 1;
      else if (char === '"') isInString = false;
    } else if (char === '"') isInString = true;
    else if (char === "{" || char === "[") depth += 1;
    else if (char === "}" || char === "]") depth -= 1;
    if (isInString || !((char === "," && depth === 1) || depth === 0)) continue;
    yield text.slice(from, at);
    from = at + 1;
  }
}

function replaceBigint(_key: string, value: unknown): unknown {
  return typeof value === "bigint" ? { $n: value.toString() } : value;
}

function reviveBigint(_key: string, value: unknown): unknown {
  if (
    typeof value === "object" &&
    value !== null &&
    "$n" in value &&
    typeof value.$n === "string" &&
    /^-?\d+$/.test(value.$n)
  ) {
    return BigInt(value.$n);
  }
  return value;
}
