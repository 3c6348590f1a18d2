import { constants } from "node:os";

const numbers = new Map<string, number>(Object.entries(constants.signals));
const names = new Map<number, string>();
for (const [name, number] of numbers) {
  // Of two names the first is the usual one: SIGABRT before SIGIOT, SIGIO before SIGPOLL.
  if (!names.has(number)) names.set(number, name);
}

/** The C library keeps the kernel's 32 and 33 for itself (signal(7)). */
const SIGRTMIN = 34;
const SIGRTMAX = 64;

/**
 * The number of "SIGTERM", "term", "15", "SIGRTMIN+3" or "RTMAX-1", all of which an image's STOPSIGNAL may be;
 * undefined when there is no such signal.
 */
export function signalNumber(name: string): number | undefined {
  if (/^\d{1,2}$/.test(name)) {
    const number = Number(name);
    return number >= 1 && number <= SIGRTMAX ? number : undefined;
  }
  const upper = name.toUpperCase();
  const full = upper.startsWith("SIG") ? upper : `SIG${upper}`;
  const known = numbers.get(full);
  if (known !== undefined) return known;
  const realtime = /^SIGRT(?:(MIN)(?:\+(\d{1,2}))?|(MAX)(?:-(\d{1,2}))?)$/.exec(full);
  if (realtime === null) return undefined;
  const number = realtime[1] === "MIN" ? SIGRTMIN + Number(realtime[2] ?? 0) : SIGRTMAX - Number(realtime[4] ?? 0);
  return number >= SIGRTMIN && number <= SIGRTMAX ? number : undefined;
}

/** "SIGKILL" for 9, "SIGRTMIN+3" for 37, "SIG99" for one without a name. */
export function signalName(number: number): string {
  const known = names.get(number);
  if (known !== undefined) return known;
  if (number >= SIGRTMIN && number <= SIGRTMAX)
    return number === SIGRTMIN ? "SIGRTMIN" : `SIGRTMIN+${number - SIGRTMIN}`;
  return `SIG${number}`;
}
