/** Makes src/gen, the messages in TypeScript, from proto/. `--out DIR` writes elsewhere, for the test that compares. */
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { parseArgs } from "node:util";

const here = join(import.meta.dirname, "..");
const bin = join(here, "../../node_modules/.bin");
const { values } = parseArgs({ options: { out: { type: "string", default: join(here, "src/gen") } } });

const template = {
  version: "v2",
  plugins: [
    {
      local: join(bin, "protoc-gen-ts_proto"),
      out: values.out,
      opt: [
        "env=node", "esModuleInterop=true", "forceLong=bigint", "enumsAsLiterals=true", "unrecognizedEnum=false",
        "importSuffix=.ts", "outputServices=none", "outputJsonMethods=false", "outputPartialMethods=true",
        "useExactTypes=false", "useMapType=false", "useDate=false", "snakeToCamel=keys", "comments=true",
      ],
    },
  ],
};
execFileSync(join(bin, "buf"), ["generate", "--template", JSON.stringify(template)], { cwd: here, stdio: "inherit" });
