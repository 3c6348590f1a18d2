import { Code, StatusError } from "@keelson/base/status.ts";
import { quoteName } from "./tar-entry.ts";

/** PATH_MAX and NAME_MAX of Linux, without the terminating zero. */
const pathLimit = 4095;
const componentLimit = 255;

/**
 * The path of a tar entry, relative to the layer's directory, without "./", double or trailing slashes; "" is the
 * directory itself. A leading slash is ignored, as in tar(1). Throws InvalidArgument for `..` and for names that Linux
 * cannot have.
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

/** Whether the name can be used unchanged. That is the usual case, and this runs for each file of a layer. */
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
