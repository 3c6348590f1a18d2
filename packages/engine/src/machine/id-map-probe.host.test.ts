import assert from "node:assert/strict";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { mount, mountsUnder, unmount } from "@keelson/linux/mount.ts";
import { createNamespaces } from "@keelson/linux/namespace.ts";
import { skip } from "@keelson/testkit/host-sandbox.ts";
import { probeIdMaps } from "./id-map-probe.ts";

function directories(t: { after(fn: () => void): void }) {
  const dir = mkdtempSync("/var/tmp/keelson-probe-");
  chmodSync(dir, 0o711);
  t.after(() => rmSync(dir, { recursive: true }));
  const bundles = join(dir, "state/containers");
  mkdirSync(bundles, { recursive: true });
  return { dir, probe: join(dir, "root/probe"), bundles };
}

test("a disk of this machine can show mapped ids, and the try leaves nothing", { skip }, async (t) => {
  const { dir, probe, bundles } = directories(t);
  assert.deepEqual(await probeIdMaps(probe, bundles), { recursiveReadOnlyMounts: true, idMapProblem: "" });
  assert.equal(existsSync(probe), false);
  assert.deepEqual(mountsUnder(dir), []);
});

test("what a try that was killed left is taken away by the next", { skip }, async (t) => {
  const { dir, probe, bundles } = directories(t);
  const ids = [{ containerId: 0, hostId: 65_536, length: 1 }];
  for (const name of ["mapped", "merged"]) {
    mkdirSync(join(probe, name), { recursive: true });
    mount({ source: "t", target: join(probe, name), fstype: "tmpfs" });
  }
  writeFileSync(join(probe, "merged/file"), "");
  createNamespaces({ user: { pin: join(probe, "userns"), uids: ids, gids: ids } });
  assert.equal((await probeIdMaps(probe, bundles)).idMapProblem, "");
  assert.deepEqual(mountsUnder(dir), []);
});

test("a directory that other users cannot enter is named", { skip }, async (t) => {
  const { dir, probe, bundles } = directories(t);
  chmodSync(join(dir, "state"), 0o700);
  const { idMapProblem } = await probeIdMaps(probe, bundles);
  assert.match(
    idMapProblem,
    new RegExp(`^the directory ${dir}/state is closed to other users \\(mode 700\\).*chmod o\\+x`),
  );
});

test("a file system without idmapped mounts is said to have none", { skip }, async (t) => {
  const { dir, probe, bundles } = directories(t);
  const lower = join(dir, "lower");
  for (const name of [lower, join(dir, "upper"), join(dir, "work"), join(dir, "root")])
    mkdirSync(name, { recursive: true });
  mount({
    source: "o",
    target: join(dir, "root"),
    fstype: "overlay",
    data: `lowerdir=${lower},upperdir=${dir}/upper,workdir=${dir}/work`,
  });
  const { idMapProblem, recursiveReadOnlyMounts } = await probeIdMaps(probe, bundles);
  assert.match(idMapProblem, /^the file system of keelsond's root directory has no idmapped mounts on Linux .*EINVAL/);
  assert.equal(recursiveReadOnlyMounts, true);
  assert.equal(existsSync(probe), false);
  unmount(join(dir, "root"));
});
