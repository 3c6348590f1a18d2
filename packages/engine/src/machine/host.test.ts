import assert from "node:assert/strict";
import { test } from "node:test";
import { controllersOf } from "./host.ts";

const memory = { version: 1 as const, dir: "/sys/fs/cgroup/memory", controllers: ["memory"] };
const unified = { version: 2 as const, dir: "/sys/fs/cgroup/unified", controllers: ["hugetlb"] };

test("on a hybrid machine a controller of the v2 tree cannot limit a container", () => {
  const root = "/sys/fs/cgroup";
  assert.deepEqual(controllersOf({ kind: "hybrid", root, hierarchies: [memory, unified] }), ["memory"]);
  assert.deepEqual(controllersOf({ kind: "v2", root, hierarchies: [unified] }), ["hugetlb"]);
});
