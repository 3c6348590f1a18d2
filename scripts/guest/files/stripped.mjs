/** `node --import` in the guest: .ts files are JavaScript already, because disk.ts has stripped their types. */
import { readFileSync } from "node:fs";
import { registerHooks } from "node:module";
import { fileURLToPath } from "node:url";

registerHooks({
  load(url, context, nextLoad) {
    if (!url.startsWith("file:") || !url.endsWith(".ts")) return nextLoad(url, context);
    return { format: "module", source: readFileSync(fileURLToPath(url), "utf8"), shortCircuit: true };
  },
});
