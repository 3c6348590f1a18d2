import assert from "node:assert/strict";
import { test } from "node:test";
import { parseMountInfo } from "@keelson/linux/mount.ts";
import { visibleBelow } from "./bound-sources.ts";

const mounts = (...lines: string[]) =>
  parseMountInfo(Buffer.from(lines.map((line) => `${line} rw - tmpfs t rw\n`).join("")));

test("mounts below a path are found, parents first, without the path itself", () => {
  const all = mounts(
    "1 0 0:1 / /",
    "2 1 0:2 / /srv",
    "3 2 0:3 / /srv/a",
    "4 3 0:4 / /srv/a/b",
    "5 2 0:5 / /srv/c",
    "6 1 0:6 / /srvother",
  );
  assert.deepEqual(visibleBelow("/srv", all), ["/srv/a", "/srv/a/b", "/srv/c"]);
  assert.deepEqual(visibleBelow("/srv/a", all), ["/srv/a/b"]);
  assert.deepEqual(visibleBelow("/srv/a/b", all), []);
  assert.deepEqual(visibleBelow("/srv/elsewhere", all), []);
  assert.deepEqual(visibleBelow("/", all), ["/srv", "/srv/a", "/srv/a/b", "/srv/c", "/srvother"]);
});

test("mounts under a later mount are hidden", () => {
  // 4 is mounted over all of /srv, 6 over /srv/d of it; 3 is still there, under it.
  const all = mounts(
    "1 0 0:1 / /",
    "2 1 0:2 / /srv",
    "3 2 0:3 / /srv/a",
    "4 2 0:4 / /srv",
    "5 4 0:5 / /srv/d",
    "6 5 0:6 / /srv/d",
  );
  assert.deepEqual(visibleBelow("/srv", all), ["/srv/d"]);
});
