/**
 * Characters that control a terminal or reorder text: C0, DEL and C1 controls, line and paragraph separators,
 * bidirectional controls. A pod's name or label comes from whoever made the pod, so none of these may reach a terminal
 * unescaped.
 */
// oxlint-disable-next-line no-control-regex
const unsafe = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/gu;

/** A server's text for one cell or line of a terminal: control characters become `\n`, `\x1b`, `\u202e`. */
export function safeText(text: string): string {
  return text.replaceAll(unsafe, escapeOne);
}

/** As safeText, but keeps line breaks: for messages. */
export function safeLines(text: string): string {
  return text.split("\n").map(safeText).join("\n");
}

function escapeOne(character: string): string {
  const named: Record<string, string> = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };
  const code = character.codePointAt(0)!;
  return (
    named[character] ??
    (code <= 0xff ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u${code.toString(16).padStart(4, "0")}`)
  );
}
