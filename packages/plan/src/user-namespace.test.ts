import assert from "node:assert/strict";
import { test } from "node:test";
import { Code } from "@keelson/base/status.ts";
import { containerFrom, podFrom, type PlanFixture } from "./testing/plan-fixture.ts";

const line = (hostId: number, length = 65_536, containerId = 0) => ({
  host_id: hostId,
  container_id: containerId,
  length,
});
const userns = (options: object) => ({
  linux: { security_context: { namespace_options: { pid: "CONTAINER", userns_options: options } } },
});
const own = { mode: "POD", uids: [line(100_000)], gids: [line(200_000)] };
const field = /^linux\.security_context\.namespace_options\.userns_options/;

function podRefused(pod: object, code: Code, message: RegExp, rest: PlanFixture = {}): void {
  assert.throws(() => podFrom({ ...rest, pod }), { code, message }, JSON.stringify(pod));
}

function containerRefused(container: object, message: RegExp, pod: object = userns(own)): void {
  assert.throws(
    () => containerFrom({ pod, container }),
    { code: Code.InvalidArgument, message },
    JSON.stringify(container),
  );
}

test("a pod's user namespace has one mapping of uids and one of gids from id 0 on", () => {
  assert.deepEqual(podFrom({ pod: userns(own) }).userNamespace, {
    uids: [{ containerId: 0, hostId: 100_000, length: 65_536 }],
    gids: [{ containerId: 0, hostId: 200_000, length: 65_536 }],
  });
  for (const none of [userns({ mode: "NODE" }), {}, { linux: { security_context: { namespace_options: {} } } }])
    assert.equal(podFrom({ pod: none }).userNamespace, undefined);
  podFrom({ pod: userns({ ...own, uids: [line(0, 0xffff_ffff)] }) });
  podFrom({ pod: userns({ ...own, uids: [line(0xffff_fffe, 1)] }) });
});

test("any other user namespace of a pod is refused by its field", () => {
  const cases: [object, RegExp][] = [
    [{ mode: "CONTAINER" }, /mode must be POD or NODE/],
    [{ mode: "TARGET" }, /mode must be POD or NODE/],
    [{ mode: "NODE", uids: [line(1)] }, /has mappings, but its mode NODE/],
    [{ mode: "POD" }, /uids has 0 mappings/],
    [{}, /uids has 0 mappings/],
    [{ ...own, gids: [] }, /gids has 0 mappings/],
    [{ ...own, uids: [line(1, 1), line(9, 1, 1)] }, /uids has 2 mappings/],
    [{ ...own, uids: [line(1, 1, 5)] }, /uids\[0\]\.container_id is 5; it must be 0/],
    [{ ...own, gids: [line(1, 0)] }, /gids\[0\]\.length is 0/],
    [{ ...own, gids: [line(0xffff_ffff, 1)] }, /gids\[0\]\.host_id is 4294967295/],
    [{ ...own, uids: [line(0xffff_0000, 0x1_0000)] }, /uids\[0\]\.host_id is 4294901760/],
  ];
  for (const [options, message] of cases) {
    podRefused(userns(options), Code.InvalidArgument, message);
    podRefused(userns(options), Code.InvalidArgument, field);
  }
});

test("a pod with a user namespace has its own PID and IPC namespaces, and may have the host's network", () => {
  const withModes = (modes: object) => ({
    linux: { security_context: { namespace_options: { userns_options: own, ...modes } } },
  });
  podRefused(withModes({ pid: "NODE" }), Code.InvalidArgument, /namespace_options\.pid must not be NODE/);
  podRefused(withModes({ ipc: "NODE" }), Code.InvalidArgument, /namespace_options\.ipc must not be NODE/);
  assert.equal(podFrom({ pod: withModes({ network: "NODE" }) }).network, "host");
});

test("where the machine or the handler has no user namespaces, the error says so", () => {
  podRefused(userns(own), Code.FailedPrecondition, /cannot have user namespaces here: needs Linux 5\.19$/, {
    host: { idMapProblem: "needs Linux 5.19" },
  });
  podRefused(userns(own), Code.FailedPrecondition, /runtime handler "old" has no user namespaces/, {
    handler: { name: "old", userNamespaces: false },
  });
  // A bad value is reported first.
  podRefused(userns({ mode: "TARGET" }), Code.InvalidArgument, field, { host: { idMapProblem: "needs Linux 5.19" } });
});

test("a container has the user namespace of its pod", () => {
  containerFrom({ pod: userns(own), container: userns(own) });
  containerFrom({ pod: userns(own), container: {} });
  containerFrom({ pod: userns({ mode: "NODE" }), container: {} });
  containerFrom({
    pod: {},
    container: { linux: { security_context: { namespace_options: { userns_options: { mode: "NODE" } } } } },
  });
  containerRefused(userns({ mode: "NODE" }), /userns_options\.mode is NODE, but the pod has/);
  containerRefused(userns({ ...own, uids: [line(100_001)] }), /userns_options has other mappings than the pod/);
  containerRefused(userns({ ...own, gids: [line(200_000, 1)] }), /userns_options has other mappings than the pod/);
  containerRefused(
    userns(own),
    /userns_options\.mode is POD, but the pod has no user namespace/,
    userns({ mode: "NODE" }),
  );
  containerRefused(userns({ mode: "POD" }), /uids has 0 mappings/);
});

const mount = (more: object) => ({ mounts: [{ container_path: "/data", host_path: "/srv", ...more }] });

test("a mount has mappings of both uids and gids that do not overlap, or none", () => {
  const mappingsOf = (container: object, pod: object = {}) =>
    containerFrom({ pod, container }).plan.mounts[0]!.idMappings;
  assert.deepEqual(mappingsOf(mount({ uidMappings: [line(9, 2), line(20, 1, 7)], gidMappings: [line(5, 1)] })), {
    uids: [
      { containerId: 0, hostId: 9, length: 2 },
      { containerId: 7, hostId: 20, length: 1 },
    ],
    gids: [{ containerId: 0, hostId: 5, length: 1 }],
  });
  assert.equal(mappingsOf(mount({}), userns(own)), undefined);
  const cases: [object, RegExp][] = [
    [{ uidMappings: [line(9)] }, /^mounts\[0\]\.gidMappings is missing/],
    [{ gidMappings: [line(9)] }, /^mounts\[0\]\.uidMappings is missing/],
    [
      { uidMappings: [line(9, 2), line(30, 2, 1)], gidMappings: [line(5)] },
      /^mounts\[0\]\.uidMappings has mappings that overlap/,
    ],
    [
      { uidMappings: [line(5)], gidMappings: [line(9, 2, 4), line(10, 2, 0)] },
      /^mounts\[0\]\.gidMappings has mappings that overlap/,
    ],
    [{ uidMappings: [line(5)], gidMappings: [line(9, 0)] }, /^mounts\[0\]\.gidMappings\[0\]\.length is 0/],
    [
      { uidMappings: [line(5)], gidMappings: [line(9, 2, 0xffff_ffff)] },
      /^mounts\[0\]\.gidMappings\[0\]\.container_id is 4294967295/,
    ],
    [
      { uidMappings: Array.from({ length: 341 }, (_, i) => line(i, 1, i)), gidMappings: [line(9)] },
      /^mounts\[0\]\.uidMappings has 341 mappings; the kernel accepts 340/,
    ],
    [
      { uidMappings: [line(5)], gidMappings: [line(9)], propagation: "PROPAGATION_BIDIRECTIONAL" },
      /^mounts\[0\]\.propagation must not be PROPAGATION_BIDIRECTIONAL when uidMappings/,
    ],
  ];
  for (const [more, message] of cases) containerRefused(mount(more), message, {});
  containerRefused(
    mount({ propagation: "PROPAGATION_BIDIRECTIONAL" }),
    /PROPAGATION_BIDIRECTIONAL in a pod with a user namespace/,
  );
});

test("an image that is mounted as a volume gets the pod's mappings, unless others are asked for", () => {
  const image = { container_path: "/data", image: { image: "models:1" }, readonly: true };
  const { plan } = containerFrom({
    pod: userns(own),
    container: {
      mounts: [image, { ...image, container_path: "/other", uidMappings: [line(1, 1)], gidMappings: [line(2, 1)] }],
    },
  });
  assert.deepEqual(
    plan.mounts.map((m) => m.idMappings?.uids[0]?.hostId),
    [100_000, 1],
  );
});
