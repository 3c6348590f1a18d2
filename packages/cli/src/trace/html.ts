import { safeText } from "../output/safe-text.ts";
import { duration } from "./text.ts";
import type { WaterfallLine, WaterfallPart } from "./waterfall.ts";

const style = `
body { font: 14px system-ui, sans-serif; margin: 2em; color: #222; background: #fff; }
h1 { font-size: 1.3em; } h2 { font-size: 1em; font-weight: normal; color: #555; margin-top: 2em; }
.line { display: grid; grid-template-columns: minmax(12em, 26em) 1fr 6em; gap: .6em; align-items: center; padding: 1px 0; }
.line:hover { background: #eef2f7; }
.label { white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.d0 .label { font-weight: 600; } .d1 .label { padding-left: 1.2em; } .d2 .label { padding-left: 2.4em; color: #555; }
.time { text-align: right; font-variant-numeric: tabular-nums; }
.track { position: relative; height: 1em; background: #f4f4f4; }
.bar { position: absolute; top: 0; bottom: 0; min-width: 2px; background: #2b6cb0; }
.d1 .bar { background: #63a4dd; } .d2 .bar { background: #b3d4ee; }
.note { color: #b00020; margin: 0 0 .3em 1.2em; white-space: pre-wrap; }
.bad .bar { background: #b00020; }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #1b1b1b; } .track { background: #2a2a2a; } .line:hover { background: #26303b; } h2, .d2 .label { color: #aaa; } .note { color: #ff8a80; } }
`;

/** A waterfall as one self-contained file for a browser. All text from the runtime is escaped. */
export function waterfallHtml(title: string, parts: readonly WaterfallPart[]): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${escapeHtml(title)}</title>
<style>${style}</style>
</head>
<body>
<h1>${escapeHtml(title)}</h1>
${parts.map(partHtml).join("\n")}
</body>
</html>
`;
}

function partHtml(part: WaterfallPart): string {
  const title =
    part.startMs === 0
      ? `took ${duration(part.durationMs)}`
      : `${duration(part.startMs)} after the beginning, took ${duration(part.durationMs)}`;
  return `<h2>${title}</h2>\n${part.lines.map((line) => lineHtml(line, part.durationMs)).join("\n")}`;
}

function lineHtml({ depth, label, startMs, durationMs, note }: WaterfallLine, wholeMs: number): string {
  const percent = (ms: number) => (wholeMs === 0 ? 0 : Math.min(100, (ms / wholeMs) * 100)).toFixed(3);
  const text = escapeHtml(label);
  const line =
    `<div class="line d${Math.min(depth, 2)}${note === undefined ? "" : " bad"}" title="${text}: ${duration(durationMs)}, from ${duration(startMs)}">` +
    `<div class="label">${text}</div><div class="track"><div class="bar" style="left:${percent(startMs)}%;width:${percent(durationMs)}%"></div></div><div class="time">${duration(durationMs)}</div></div>`;
  return note === undefined ? line : `${line}\n<div class="note">${escapeHtml(note)}</div>`;
}

const entities: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

function escapeHtml(text: string): string {
  return safeText(text).replaceAll(/[&<>"']/g, (character) => entities[character]!);
}
