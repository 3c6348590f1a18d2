// Mounts of sources on a file system whose server is gone, and their unmounts.
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { detectCgroups } from "@keelson/linux/cgroup.ts";
import { bindMount, mountsUnder, unmountAsync } from "@keelson/linux/mount.ts";
import { DeadMount } from "@keelson/testkit/dead-mount.ts";
import { skip } from "@keelson/testkit/host-sandbox.ts";
import { LinuxContainerHost, type SourceOptions } from "./container-host.ts";

const options: SourceOptions = {
  isDirectory: true,
  recursive: true,
  propagation: "rprivate",
  recursiveReadOnly: true,
  idMap: undefined,
};
/** More than libuv's pool has threads. */
const many = Array.from({ length: 8 }, (_, i) => String(i));

function newDirectory(t: TestContext): string {
  const dir = mkdtempSync("/run/keelson-bound-");
  t.after(() => rmSync(dir, { recursive: true }));
  return dir;
}

/** Whether libuv's pool has a thread that does something else in time. */
async function poolAnswers(): Promise<boolean> {
  return await Promise.race([stat("/").then(() => true), sleep(1000, false)]);
}

test("sources that do not answer hold up their own calls alone, and are not mounted later", { skip }, async (t) => {
  const dir = newDirectory(t);
  using mount = DeadMount.open(join(dir, "volume"));
  assert.ok(mount !== undefined, "this machine has no FUSE");
  const bundles = join(dir, "bundles");
  const host = new LinuxContainerHost(
    (id) => join(bundles, id),
    (id) => join(dir, "writable", id),
    detectCgroups(),
  );
  mount.die();
  const signal = AbortSignal.timeout(300);
  const binds = many.map((name) => host.bindSource("c", name, `${mount.path}/${name}`, options, signal));
  const ended = Promise.allSettled(binds);
  await sleep(50);
  const answered = await poolAnswers();
  if (!answered) mount.close();
  const results = await ended;
  assert.ok(answered, "a call that needs the pool waits, too");
  for (const result of results) assert.equal((result as PromiseRejectedResult).reason.name, "TimeoutError");
  mount.close();
  await sleep(50);
  assert.deepEqual(mountsUnder(bundles), []);
});

test("mounts of a volume that is dead meanwhile can be unmounted, and nothing waits for it", { skip }, async (t) => {
  const dir = newDirectory(t);
  using mount = DeadMount.open(join(dir, "volume"));
  assert.ok(mount !== undefined, "this machine has no FUSE");
  const targets = many.map((name) => join(dir, name));
  for (const target of targets) {
    mkdirSync(target);
    bindMount(mount.path, target);
  }
  mount.die();
  const unmounts = targets.map((target, i) => unmountAsync(target, { detach: i % 2 === 0 }));
  assert.ok(await poolAnswers());
  assert.deepEqual(
    await Promise.all(unmounts),
    many.map(() => true),
  );
  mount.close();
});
