import { execFileSync } from "node:child_process";
import { join } from "node:path";

const bin = join(import.meta.dirname, "../node_modules/.bin");

/**
 * Generates TypeScript from a package's `proto/` with buf and ts-proto: enums as literals, int64 as bigint, no JSON
 * methods.
 *
 * @param options further options of ts-proto, such as `outputServices=none`
 */
export function generateMessages(packageDir: string, out: string, options: readonly string[]): void {
  const opt = [
    "env=node",
    "esModuleInterop=true",
    "forceLong=bigint",
    "enumsAsLiterals=true",
    "unrecognizedEnum=false",
    "importSuffix=.ts",
    "outputJsonMethods=false",
    "outputPartialMethods=true",
    "useExactTypes=false",
    "useMapType=false",
    "snakeToCamel=keys",
    "comments=true",
    ...options,
  ];
  const template = { version: "v2", plugins: [{ local: join(bin, "protoc-gen-ts_proto"), out, opt }] };
  execFileSync(join(bin, "buf"), ["generate", "--template", JSON.stringify(template)], {
    cwd: packageDir,
    stdio: "inherit",
  });
}
