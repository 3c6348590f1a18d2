/** Generates src/gen, the messages in TypeScript, from proto/. `--out DIR` writes elsewhere, for the test that compares. */
import { join } from "node:path";
import { parseArgs } from "node:util";
import { generateMessages } from "../../../scripts/generate-messages.ts";

const here = join(import.meta.dirname, "..");
const { values } = parseArgs({ options: { out: { type: "string", default: join(here, "src/gen") } } });

generateMessages(here, values.out, ["outputServices=none", "useDate=false"]);
