import { execFileSync } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** keelsond and keelctl as bundles, which start in a third of the time that their sources take, for the host tests. */
export class BuiltPrograms implements Disposable {
  readonly #dir = mkdtempSync(join(tmpdir(), "keelson-programs-"));

  /** Bundles what is in `root`. */
  constructor(root: string) {
    chmodSync(this.#dir, 0o755); // containers with user namespaces run the helpers there too
    execFileSync(process.execPath, [join(root, "scripts/build.mjs"), join(this.#dir, "built"), "--for-tests"], {
      stdio: "inherit",
    });
  }

  /** Has test processes start these programs, and load their own modules faster from the second file on. */
  get env(): NodeJS.ProcessEnv {
    return { KEELSON_TEST_BUILT: join(this.#dir, "built"), NODE_COMPILE_CACHE: join(this.#dir, "compiled") };
  }

  [Symbol.dispose](): void {
    rmSync(this.#dir, { recursive: true });
  }
}
