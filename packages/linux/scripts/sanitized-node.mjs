// Loaded by sanitized-node: children do not inherit the library, and `process.execPath` is that script.
import { join } from "node:path";

delete process.env.LD_PRELOAD;
process.execPath = join(import.meta.dirname, "sanitized-node");
