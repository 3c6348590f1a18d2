/**
 * Names of files are bytes that need not be UTF-8, so paths in layers are *binary strings*: one character for each
 * byte. Node encodes strings as UTF-8, so a path that is not ASCII goes to Node's calls as a Buffer.
 */
export function nodePath(binary: string): Buffer | string {
  return isAscii(binary) ? binary : Buffer.from(binary, "latin1");
}

/** Where a path of a tree is, for Node's calls. `top` is ordinary text, `path` a binary string that begins with "/". */
export function inTree(top: string, path: string): Buffer | string {
  const base = top === "/" ? "" : top;
  return isAscii(path) ? `${base}${path}` : Buffer.concat([Buffer.from(base), Buffer.from(path, "latin1")]);
}

/** The parent of a path in a tree; that of "/" is "/". */
export function parentInTree(path: string): string {
  return path.slice(0, Math.max(1, path.lastIndexOf("/")));
}

function isAscii(text: string): boolean {
  // oxlint-disable-next-line no-control-regex -- all of ASCII is meant
  return /^[\u0000-\u007f]*$/.test(text);
}
