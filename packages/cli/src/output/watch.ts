import type { Io } from "../io.ts";

/** Shows a text again and again until the user interrupts: on a terminal in place, elsewhere one after the other. */
export async function watch(io: Io, everyMs: number, frame: () => Promise<string>): Promise<void> {
  let isFirst = true;
  try {
    for (;;) {
      const text = await frame();
      await io.stdout.write(io.stdout.isTerminal ? redraw(text, isFirst) : text);
      isFirst = false;
      await io.sleep(everyMs, io.signal);
    }
  } catch (error) {
    // Ctrl-C is the normal way to end this.
    if (!io.signal.aborted) throw error;
  }
}

/**
 * Draws a text over the previous one, without an empty screen between them, which would flicker (ECMA-48: CUP, EL, ED).
 */
export function redraw(text: string, isFirst: boolean): string {
  return `${isFirst ? "\u001b[2J" : ""}\u001b[H${text.replaceAll("\n", "\u001b[K\r\n")}\u001b[J`;
}
