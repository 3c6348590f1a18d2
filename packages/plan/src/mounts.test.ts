import assert from "node:assert/strict";
import { test } from "node:test";
import { Code } from "@keelson/base/status.ts";
import type { MountPlan } from "./mounts.ts";
import { containerFrom } from "./testing/plan-fixture.ts";

function planned(mounts: object[], volumes: string[] = []): MountPlan[] {
  return containerFrom({ container: { mounts }, image: { volumes } }).plan.mounts;
}

const destinations = (mounts: MountPlan[]) => mounts.map((mount) => mount.destination);

function refused(mount: object, message: RegExp): void {
  assert.throws(() => planned([mount]), { code: Code.InvalidArgument, message });
}

test("parents come before what is in them, otherwise the order is kept", () => {
  const paths = ["/a/b/c", "/z", "/a/b", "/a", "/z/y"];
  assert.deepEqual(destinations(planned(paths.map((path) => ({ container_path: path, host_path: "/srv" })))), [
    "/z",
    "/a",
    "/a/b",
    "/z/y",
    "/a/b/c",
  ]);
});

test("the last of several mounts at the same place counts", () => {
  const [only, ...rest] = planned([
    { container_path: "/a", host_path: "/first" },
    { container_path: "/a/../a/", host_path: "/last", readonly: true },
  ]);
  assert.deepEqual(
    [only?.destination, only?.source, only?.readonly, rest],
    ["/a", { is: "host", path: "/last" }, true, []],
  );
});

test("an image is mounted read-only instead of a host path", () => {
  const image = { container_path: "/models", readonly: true, image: { image: "models:1" } };
  assert.deepEqual(planned([image])[0], {
    destination: "/models",
    source: { is: "image", image: "models:1", subPath: "" },
    readonly: true,
    recursiveReadOnly: false,
    propagation: "rprivate",
  });
  for (const [sent, subPath] of [
    ["a/b", "a/b"],
    ["/a//./b/", "a/b"],
    [".", ""],
  ] as const) {
    assert.deepEqual(planned([{ ...image, image_sub_path: sent }])[0]?.source, {
      is: "image",
      image: "models:1",
      subPath,
    });
  }
  refused({ ...image, readonly: false }, /^mounts\[0\]\.readonly /);
  refused({ ...image, host_path: "/srv" }, /^mounts\[0\]\.host_path /);
  refused({ ...image, propagation: "PROPAGATION_BIDIRECTIONAL" }, /^mounts\[0\]\.propagation /);
  refused({ ...image, image_sub_path: "a/../../b" }, /^mounts\[0\]\.image_sub_path /);
  refused({ ...image, image_sub_path: "a\0b" }, /^mounts\[0\]\.image_sub_path /);
  refused({ ...image, image_sub_path: "a/".repeat(3000) }, /^mounts\[0\]\.image_sub_path /);
  refused({ ...image, image: { user_specified_image: "models:1" } }, /^mounts\[0\]\.image\.image /);
  refused({ ...image, image: { image: "a\nb" } }, /^mounts\[0\]\.image\.image /);
});

test("without an image a host path is needed, and a path in an image is refused", () => {
  refused({ container_path: "/a", image: {} }, /^mounts\[0\]\.host_path /);
  refused({ container_path: "/a", host_path: "/srv", image_sub_path: "b" }, /^mounts\[0\]\.image_sub_path /);
});

test("a mount over the container's root is refused", () => {
  for (const path of ["/", "//", "/a/..", "..", "../../.."])
    refused({ container_path: path, host_path: "/srv" }, /^mounts\[0\]\.container_path /);
});

test("the image's volumes are made unless a mount of the config covers them", () => {
  const volumes = ["/data/db", "/data/db/", "/var/lib/x", "/logs"];
  assert.deepEqual(
    planned([], volumes).map((mount) => [mount.destination, mount.source.is]),
    [
      ["/logs", "volume"],
      ["/data/db", "volume"],
      ["/var/lib/x", "volume"],
    ],
  );
  const asked = [
    { container_path: "/data", host_path: "/srv" },
    { container_path: "/var/lib/x", host_path: "/srv" },
    { container_path: "/logs/today", host_path: "/srv" },
  ];
  assert.deepEqual(
    planned(asked, volumes).map((mount) => [mount.destination, mount.source.is]),
    [
      ["/data", "host"],
      ["/logs", "volume"],
      ["/logs/today", "host"],
      ["/var/lib/x", "host"],
    ],
  );
});

test("a volume of the image never replaces the kernel's file systems", () => {
  assert.deepEqual(
    planned([], ["/sys/fs/cgroup", "/proc", "/dev/shm", "/run"]).map((mount) => mount.destination),
    ["/run"],
  );
});

test("an image with impossible volumes is refused", () => {
  for (const volumes of [["/"], ["a/../.."], [""], ["/a\0"], Array.from({ length: 101 }, (_, i) => `/v${i}`)]) {
    assert.throws(() => planned([], volumes), { code: Code.InvalidArgument, message: /image/ });
  }
});
