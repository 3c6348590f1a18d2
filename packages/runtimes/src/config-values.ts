import * as v from "valibot";

/** A path that must be absolute, so that it means the same from any working directory. */
export const absolutePath = v.pipe(v.string(), v.startsWith("/", "must be an absolute path"), v.excludes("\0"));
