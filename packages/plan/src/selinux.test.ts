import assert from "node:assert/strict";
import { test } from "node:test";
import { Code } from "@keelson/base/status.ts";
import { withFreeLevel } from "./selinux.ts";
import { containerFrom, hostFrom, podFrom, type PlanFixture } from "./testing/plan-fixture.ts";

const on = { seLinuxEnabled: true };
const security = (context: object) => ({ linux: { security_context: context } });
const options = (selinux: object) => security({ selinux_options: selinux });

/** The labels of a container, in a pod that has been given a level. */
function labels(fixture: PlanFixture) {
  const pod = podFrom({ host: on, ...fixture });
  const whole =
    pod.seLinux === undefined ? pod : { ...pod, seLinux: withFreeLevel(pod.seLinux, "seed", new Set(), hostFrom(on)) };
  return containerFrom({ host: on, ...fixture }, whole).plan.seLinux;
}

test("the containers of a pod share the machine's label, with a level that only this pod has", () => {
  const one = labels({});
  assert.match(one!.process, /^system_u:system_r:container_t:s0:c\d+,c\d+$/);
  assert.equal(one!.mount, one!.process.replace("system_r:container_t", "object_r:container_file_t"));
  assert.deepEqual(labels({ container: security({}) }), one);
});

test("containers get the parts that their pod asks for, unless they ask for others", () => {
  const pod = options({ level: "s0:c4,c5" });
  assert.deepEqual(labels({ pod }), {
    process: "system_u:system_r:container_t:s0:c4,c5",
    mount: "system_u:object_r:container_file_t:s0:c4,c5",
  });
  assert.equal(labels({ pod, container: options({ type: "my_t" }) })?.process, "system_u:system_r:my_t:s0:c4,c5");
  const full = { user: "u_u", role: "r_r", type: "t_t", level: "s0:c7" };
  assert.deepEqual(labels({ pod, container: options(full) }), {
    process: "u_u:r_r:t_t:s0:c7",
    mount: "u_u:object_r:container_file_t:s0:c7",
  });
});

test("a malformed level or part is refused, with SELinux or without", () => {
  for (const level of ["s0,c4,c5", "c4", "s0:", "s0:c1024", "s0:c1,", "s0:c1 ", "s0:c1:c2", "x"]) {
    for (const host of [on, {}]) {
      assert.throws(
        () => podFrom({ host, pod: options({ level }) }),
        { code: Code.InvalidArgument, message: /^linux\.security_context\.selinux_options\.level / },
        level,
      );
      assert.throws(
        () => containerFrom({ host, container: options({ level }) }),
        { code: Code.InvalidArgument, message: /selinux_options\.level/ },
        level,
      );
    }
  }
  for (const level of ["s0", "s15", "s0:c0", "s0:c0.c1023", "s0:c1,c5.c7", "s0-s15:c0.c1023"])
    podFrom({ host: on, pod: options({ level }) });
  for (const part of ["user", "role", "type"])
    assert.throws(() => podFrom({ pod: options({ [part]: "a:b" }) }), {
      code: Code.InvalidArgument,
      message: new RegExp(`selinux_options\\.${part}`),
    });
});

test("there are no labels without SELinux, for privileged containers, or in the host's namespaces unless asked for", () => {
  assert.equal(containerFrom({ container: options({ type: "x_t" }) }).plan.seLinux, undefined);
  assert.equal(podFrom({ pod: options({ type: "x_t" }) }).seLinux, undefined);
  assert.equal(labels({ pod: security({ privileged: true }), container: security({ privileged: true }) }), undefined);
  for (const namespace of ["pid", "ipc"]) {
    const pod = security({ namespace_options: { [namespace]: "NODE" } });
    assert.equal(labels({ pod }), undefined);
    assert.equal(
      labels({ pod, container: options({ type: "x_t", level: "s0:c1" }) })?.process,
      "system_u:system_r:x_t:s0:c1",
    );
  }
});

test("no two pods have the same pair of categories, even when their searches begin at the same one", () => {
  const used = new Set<string>();
  const label = podFrom({ host: on }).seLinux!;
  for (let i = 0; i < 3000; i += 1) {
    const { level } = withFreeLevel(label, i % 2 === 0 ? "same" : `pod-${i}`, used, hostFrom(on));
    const [low, high] = /^s0:c(\d+),c(\d+)$/.exec(level)!.slice(1).map(Number);
    assert.ok(low! < high! && high! < 1024, level);
    assert.ok(!used.has(level), level);
    used.add(level);
  }
  assert.equal(
    withFreeLevel({ ...label, level: "s0:c1" }, "x", new Set(["s0:c1"]), hostFrom(on)).level,
    "s0:c1",
    "a level that is asked for may be shared",
  );
});

test("mounts are relabelled when they ask for it and the kernel has SELinux", () => {
  const container = {
    mounts: [
      { container_path: "/a", host_path: "/a", selinux_relabel: true },
      { container_path: "/b", host_path: "/b" },
    ],
  };
  assert.deepEqual(
    containerFrom({ host: on, container }).plan.mounts.map((mount) => mount.relabel),
    [true, undefined],
  );
  assert.deepEqual(
    containerFrom({ container }).plan.mounts.map((mount) => mount.relabel),
    [undefined, undefined],
  );
});
