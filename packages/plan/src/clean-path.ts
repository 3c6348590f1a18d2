import { checkNoNul, invalidField, quote } from "./field-check.ts";

/** PATH_MAX of limits.h, without the NUL. */
const maxPathLength = 4095;

/**
 * The shortest absolute path that says the same as text: no `.`, `..`, double or trailing slashes;
 * a relative one is taken from `/`, and `..` never leaves it. Symbolic links are not looked at, so
 * use it for paths inside a container only as names, never to open them.
 */
export function cleanPath(path: string): string {
  const parts: string[] = [];
  for (const part of path.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== "" && part !== ".") parts.push(part);
  }
  return `/${parts.join("/")}`;
}

/** Whether `path` is `parent` or below it; both clean. */
export function isAtOrBelow(path: string, parent: string): boolean {
  return parent === "/" || path === parent || path.startsWith(`${parent}/`);
}

/** How many directories down; 0 for `/`. Takes a clean path. */
export function pathDepth(path: string): number {
  return path === "/" ? 0 : path.split("/").length - 1;
}

/** A path of the host: absolute, within PATH_MAX, without NUL. Throws InvalidArgument. It is left as it is: its links matter. */
export function checkHostPath(field: string, path: string): void {
  checkPathText(field, path);
  if (!path.startsWith("/")) throw invalidField(field, `${quote(path)} must be an absolute path`);
}

/** A path inside the container, cleaned. Throws InvalidArgument when it is empty, too long or has a NUL. */
export function containerPath(field: string, path: string): string {
  checkPathText(field, path);
  return cleanPath(path);
}

function checkPathText(field: string, path: string): void {
  if (path === "") throw invalidField(field, "must not be empty");
  checkNoNul(field, path);
  if (path.length > maxPathLength)
    throw invalidField(field, `has ${path.length} characters; at most ${maxPathLength} are allowed`);
}
