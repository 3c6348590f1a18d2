/**
 * Whether a text is an IPv4 address in dotted decimal or an IPv6 address (RFC 4291), with neither zone nor prefix
 * length.
 */
export function isIpAddress(text: string): boolean {
  return isIpv4(text) || isIpv6(text);
}

function isIpv4(text: string): boolean {
  return /^(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?!$)|$)){4}$/.test(text);
}

function isIpv6(text: string): boolean {
  if (text.length > 45) return false;
  const halves = text.split("::");
  if (halves.length > 2) return false;
  const groups = halves.flatMap((half) => (half === "" ? [] : half.split(":")));
  const last = groups.at(-1);
  // The last 32 bits may be written as an IPv4 address, which stands for two groups.
  const tail = last !== undefined && last.includes(".") && isIpv4(last) && !text.endsWith("::");
  const count = groups.length + (tail ? 1 : 0);
  const plain = tail ? groups.slice(0, -1) : groups;
  return plain.every((group) => /^[0-9A-Fa-f]{1,4}$/.test(group)) && (halves.length === 2 ? count <= 7 : count === 8);
}
