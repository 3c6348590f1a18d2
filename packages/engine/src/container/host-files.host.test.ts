// A file system that answers when a path on it is looked up, and never again.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { Code, StatusError } from "@keelson/base/status.ts";
import { BeneathLooker } from "@keelson/linux/look-beneath.ts";
import { resolvePaths } from "@keelson/linux/resolve-paths.ts";
import type { ContainerPlan } from "@keelson/plan/container-plan.ts";
import { DeadMount } from "@keelson/testkit/dead-mount.ts";
import { skip } from "@keelson/testkit/host-sandbox.ts";
import { findHostFiles } from "./host-files.ts";

test(
  "a device or profile on a file system that dies once its path was found holds up its own call alone",
  { skip },
  async (t) => {
    const dir = mkdtempSync("/run/keelson-host-files-");
    t.after(() => rmSync(dir, { recursive: true }));
    using mount = DeadMount.open(join(dir, "volume"));
    assert.ok(mount !== undefined, "this machine has no FUSE");
    const device = { hostPath: mount.path, containerPath: "/dev/x", permissions: "r" };
    const plans = [
      { devices: [device], seccomp: { is: "unconfined" } },
      { devices: [], seccomp: { is: "localhost", path: mount.path } },
    ] as unknown as ContainerPlan[];
    const found = await Promise.all(plans.map(() => resolvePaths([mount.path])));
    mount.die();
    let turns = 0;
    const timer = setInterval(() => (turns += 1), 10);
    t.after(() => clearInterval(timer));
    for (const [i, plan] of plans.entries()) {
      const containerHost = {
        resolveHostPaths: () => Promise.resolve(found[i]!),
        lookAtFiles: (signal: AbortSignal) => new BeneathLooker(signal),
      };
      const d = { containerHost } as unknown as Parameters<typeof findHostFiles>[0];
      const isLate = (error: unknown) => error instanceof StatusError && error.code === Code.DeadlineExceeded;
      await assert.rejects(findHostFiles(d, plan, false, new AbortController().signal, 300), isLate);
    }
    assert.ok(turns > 20, `${turns} turns of the event loop meanwhile`);
    mount.close();
  },
);
