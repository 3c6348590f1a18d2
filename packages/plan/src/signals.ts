import { Signal } from "@keelson/cri/gen/runtime/v1/api.ts";
import { invalidField, quote } from "./field-check.ts";

/** A signal as people, the kernel and the CRI call it. */
export interface StopSignal {
  /** Such as SIGTERM or SIGRTMIN+3. */
  name: string;
  /** signal(7), for x86, ARM and most others. */
  number: number;
  /** For ContainerStatus.stop_signal; RUNTIME_DEFAULT where the CRI has no name for it. */
  cri: Signal;
}

const numbers: Readonly<Record<string, number>> = {
  SIGHUP: 1,
  SIGINT: 2,
  SIGQUIT: 3,
  SIGILL: 4,
  SIGTRAP: 5,
  SIGABRT: 6,
  SIGBUS: 7,
  SIGFPE: 8,
  SIGKILL: 9,
  SIGUSR1: 10,
  SIGSEGV: 11,
  SIGUSR2: 12,
  SIGPIPE: 13,
  SIGALRM: 14,
  SIGTERM: 15,
  SIGSTKFLT: 16,
  SIGCHLD: 17,
  SIGCONT: 18,
  SIGSTOP: 19,
  SIGTSTP: 20,
  SIGTTIN: 21,
  SIGTTOU: 22,
  SIGURG: 23,
  SIGXCPU: 24,
  SIGXFSZ: 25,
  SIGVTALRM: 26,
  SIGPROF: 27,
  SIGWINCH: 28,
  SIGIO: 29,
  SIGPWR: 30,
  SIGSYS: 31,
  // The second names that signal(7) gives.
  SIGIOT: 6,
  SIGCLD: 17,
  SIGPOLL: 29,
};

/** The first real-time signal that glibc leaves to programs: it uses 32 and 33 itself. */
const realTimeMin = 34;
const realTimeMax = 64;

/**
 * The signal that asks a container to stop: the one in its config, else its image's, else SIGTERM (CRI:
 * ContainerConfig.stop_signal). Throws InvalidArgument for what is not a signal.
 */
export function planStopSignal(asked: Signal, imageStopSignal: string): StopSignal {
  if (asked !== Signal.RUNTIME_DEFAULT) return fromCri(asked);
  const text = imageStopSignal.trim();
  return text === "" ? signalNumbered(15) : parseSignal("StopSignal of the image", text);
}

/** Parses a signal as people write it: SIGTERM, term, 15, SIGRTMIN+3, RTMAX-1. Throws InvalidArgument. */
export function parseSignal(field: string, text: string): StopSignal {
  const number = numberOf(text);
  if (number === undefined)
    throw invalidField(
      field,
      `${quote(text)} is not a signal; write a name such as SIGTERM or SIGRTMIN+3, or a number from 1 to 64`,
    );
  return signalNumbered(number);
}

function numberOf(text: string): number | undefined {
  if (/^\d{1,2}$/.test(text)) return inRange(Number(text), 1);
  const upper = text.toUpperCase();
  const name = upper.startsWith("SIG") ? upper : `SIG${upper}`;
  if (Object.hasOwn(numbers, name)) return numbers[name];
  const realTime = /^SIGRT(MIN|MAX)(?:([+-])(\d{1,2}))?$/.exec(name);
  if (realTime === null) return undefined;
  const offset = Number(realTime[3] ?? 0) * (realTime[2] === "-" ? -1 : 1);
  return inRange((realTime[1] === "MIN" ? realTimeMin : realTimeMax) + offset, realTimeMin);
}

function inRange(number: number, min: number): number | undefined {
  return number >= min && number <= realTimeMax ? number : undefined;
}

function signalNumbered(number: number): StopSignal {
  return { name: nameOf(number), number, cri: criNamed(nameOf(number)) };
}

function nameOf(number: number): string {
  const classic = Object.entries(numbers).find(([, n]) => n === number)?.[0];
  if (classic !== undefined) return classic;
  if (number < realTimeMin) return `SIG${number}`;
  // Like `kill -l`, the CRI counts the lower half from the beginning and the upper half from the end.
  const fromMin = number - realTimeMin;
  if (fromMin <= 15) return fromMin === 0 ? "SIGRTMIN" : `SIGRTMIN+${fromMin}`;
  return number === realTimeMax ? "SIGRTMAX" : `SIGRTMAX-${realTimeMax - number}`;
}

function criNamed(name: string): Signal {
  const key = name.replace("+", "PLUS").replace("-", "MINUS");
  return Object.hasOwn(Signal, key) ? Signal[key as keyof typeof Signal] : Signal.RUNTIME_DEFAULT;
}

function fromCri(asked: Signal): StopSignal {
  const key = Object.entries(Signal).find(([, value]) => value === asked)?.[0];
  if (key === undefined) throw invalidField("stop_signal", `${asked} is not a signal of the CRI`);
  const name = key.replace("PLUS", "+").replace("MINUS", "-");
  // The status returns the name that was sent: SIGPOLL stays SIGPOLL.
  return { name, number: numberOf(name)!, cri: asked };
}
