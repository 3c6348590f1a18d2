import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const program = join(import.meta.dirname, "../../../shim/src/testing/guest-shim.ts");

/** The configuration's section for a handler `guest` whose shim is that of the tests, which it puts into a directory. */
export function guestHandler(dir: string): string {
  const shim = join(dir, "containerd-shim-guest-v1");
  writeFileSync(shim, `#!/bin/sh\nexec ${process.execPath} --disable-warning=ExperimentalWarning ${program} "$@"\n`);
  chmodSync(shim, 0o755);
  // Like those of virtual machines it starts slowly.
  writeFileSync(join(dir, "guest.json"), JSON.stringify({ startMs: 300 }));
  return `[runtimes.guest]
type = "shim"
path = "${shim}"
pod_annotations = ["guest.test/*"]
container_annotations = ["guest.test/*"]
options = { ConfigPath = "${dir}/guest.json" }
`;
}
