/** `node --import` in the guest: a .ts file is JavaScript already, as disk.ts has put it there. */
import { readFileSync } from "node:fs";
import { registerHooks } from "node:module";
import { fileURLToPath } from "node:url";

registerHooks({
  load(url, context, nextLoad) {
    if (!url.startsWith("file:") || !url.endsWith(".ts")) return nextLoad(url, context);
    return { format: "module", source: readFileSync(fileURLToPath(url), "utf8"), shortCircuit: true };
  },
});
