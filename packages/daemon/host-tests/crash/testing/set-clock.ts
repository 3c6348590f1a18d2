/**
 * This process sees another time of day: the machine's, and as many milliseconds more as the file `clock` in the directory
 * KEELSON_CRASH_DIR says. To be imported before the daemon. Monotonic clocks, timers and the kernel's file times stay.
 */
import { readFileSync } from "node:fs";

const file = `${process.env["KEELSON_CRASH_DIR"] ?? ""}/clock`;
const RealDate = Date;

function nowMs(): number {
  return RealDate.now() + offsetMs();
}

function offsetMs(): number {
  try {
    return Number(readFileSync(file, "utf8"));
  } catch {
    return 0;
  }
}

globalThis.Date = new Proxy(RealDate, {
  construct: (target, args: [], newTarget) =>
    Reflect.construct(target, args.length === 0 ? [nowMs()] : args, newTarget) as Date,
  get: (target, name) => (name === "now" ? nowMs : (Reflect.get(target, name) as unknown)),
});
