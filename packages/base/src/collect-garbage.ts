import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/** How long nothing may have become garbage before it is collected, in ms. */
const quietMs = 1000;

let timer: NodeJS.Timeout | undefined;
let collect: (() => void) | undefined;

/**
 * Has garbage collected soon, when no more comes. To be called when buffers of megabytes have become garbage: V8 looks
 * for garbage when something is allocated, so that an idle process would keep them for minutes. A collection takes some
 * 50 ms.
 */
export function collectGarbageSoon(): void {
  clearTimeout(timer);
  timer = setTimeout(() => (collect ??= collector())(), quietMs).unref();
}

/** The flag does not bring `gc` into contexts that exist already. */
function collector(): () => void {
  setFlagsFromString("--expose-gc");
  return runInNewContext("gc") as () => void;
}
