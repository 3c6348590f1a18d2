import { checkNoNul, invalidField, quote } from "./field-check.ts";

/** PATH_MAX of limits.h, without the NUL. */
const maxPathLength = 4095;

/**
 * The shortest absolute path with the same meaning as text: without `.`, `..`, double or trailing slashes. A relative
 * path starts at `/`, and `..` never leaves it. Symbolic links are not followed, so use the result for paths inside a
 * container only as a name, never to open it.
 */
export function cleanPath(path: string): string {
  const parts: string[] = [];
  for (const part of path.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== "" && part !== ".") parts.push(part);
  }
  return `/${parts.join("/")}`;
}

/** Whether `path` is `parent` or below it. Both must be clean. */
export function isAtOrBelow(path: string, parent: string): boolean {
  return parent === "/" || path === parent || path.startsWith(`${parent}/`);
}

/** How many directories deep a clean path is; 0 for `/`. */
export function pathDepth(path: string): number {
  return path === "/" ? 0 : path.split("/").length - 1;
}

/**
 * Checks a path of the host: absolute, within PATH_MAX, without NUL. Throws InvalidArgument. Such paths are not
 * cleaned, as `..` after a symbolic link has another meaning.
 */
export function checkHostPath(field: string, path: string): void {
  checkPathText(field, path);
  if (!path.startsWith("/")) throw invalidField(field, `${quote(path)} must be an absolute path`);
}

/** A path inside the container, cleaned. Throws InvalidArgument when it is empty, too long or contains NUL. */
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
