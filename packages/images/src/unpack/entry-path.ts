import { Code, StatusError } from "@keelson/base/status.ts";
import { quoteName } from "./tar-reader.ts";

/** PATH_MAX and NAME_MAX of Linux, without the zero at the end. */
const pathLimit = 4095;
const componentLimit = 255;

/**
 * The name of a tar entry below the layer's directory, without "./", double or final slashes; ""
 * is the directory itself. A leading slash counts for nothing, as in tar(1).
 * Throws InvalidArgument for `..` and for names that Linux cannot have.
 */
export function entryPath(name: string): string {
  const path = isPlain(name)
    ? name
    : name
        .split("/")
        .filter((part) => part !== "" && part !== ".")
        .join("/");
  if (path.length > pathLimit - 1)
    throw new StatusError(
      Code.InvalidArgument,
      `tar entry ${quoteName(name)}: its name is longer than ${pathLimit} bytes`,
    );
  if (path.includes("..") && path.split("/").includes(".."))
    throw new StatusError(Code.InvalidArgument, `tar entry ${quoteName(name)} leads out of the layer with ".."`);
  if (path.length > componentLimit && path.split("/").some((part) => part.length > componentLimit)) {
    throw new StatusError(
      Code.InvalidArgument,
      `tar entry ${quoteName(name)}: a part of its name is longer than ${componentLimit} bytes`,
    );
  }
  return path;
}

/** The directory part of a path, "" for the layer's directory. */
export function parentOf(path: string): string {
  const slash = path.lastIndexOf("/");
  return slash === -1 ? "" : path.slice(0, slash);
}

/** The last part of a path. */
export function baseOf(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

/** Whether there is nothing to take out: the usual case, and it is asked for each file of a layer. */
function isPlain(name: string): boolean {
  return (
    name !== "" &&
    !name.startsWith("/") &&
    !name.startsWith("./") &&
    name !== "." &&
    !name.endsWith("/") &&
    !name.includes("//") &&
    !name.includes("/./") &&
    !name.endsWith("/.")
  );
}
