import assert from "node:assert/strict";
import { test } from "node:test";
import { ContainerConfig, LinuxContainerResources, PodSandboxConfig } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { HostFacts } from "@keelson/plan/host-facts.ts";
import { planPodSandbox } from "@keelson/plan/pod-plan.ts";
import { openDatabase } from "@keelson/store/database.ts";
import { RecordTable } from "@keelson/store/record-table.ts";
import { type ContainerRecord, readContainerRecord, writeContainerRecord } from "./container-record.ts";
import { type PodRecord, readPodRecord, writePodRecord } from "./pod-record.ts";

const id = "ab".repeat(32);
const container: ContainerRecord = {
  id,
  name: "web_pod",
  podId: "cd".repeat(32),
  config: ContainerConfig.fromPartial({
    metadata: { name: "web" },
    envs: [{ key: "k", value: Buffer.from([0, 255]) }],
  }),
  imageId: "sha256:00",
  layers: ["l1"],
  mountedImages: [{ name: "models:1", imageId: "sha256:5678", layers: ["sha256:c"] }],
  handler: "crun",
  logPath: "",
  cgroupPath: "/a/b",
  stopSignal: { name: "SIGTERM", number: 15 },
  user: { uid: 0, gid: 0, supplementalGroups: [10] },
  resources: LinuxContainerResources.fromPartial({ memoryLimitInBytes: 2n ** 50n }),
  createdAtNs: 1n,
  bootId: "boot",
  state: { is: "running", main: { pid: 5, startTicks: 7 }, monitor: { pid: 4, startTicks: 6 }, startedAtNs: 2n },
};
const host = {
  arch: "x64",
  kernelVersion: "6.1.0",
  hostname: "node",
  cgroupVersion: "v2",
  cgroupDriver: "cgroupfs",
  controllers: ["cpu", "memory", "pids"],
  cgroup2MountOptions: [],
  hasSwapAccounting: true,
  hugepageSizes: [],
  capabilities: [],
  oomScoreAdjMin: -1000,
  seccompEnabled: true,
  appArmorEnabled: false,
  appArmorDefaultProfile: "",
  seLinuxEnabled: false,
  seLinuxProcessLabel: "",
  seLinuxFileLabel: "",
  resctrlMounted: false,
  recursiveReadOnlyMounts: true,
  idMapProblem: "",
} as const satisfies HostFacts;
const podConfig = PodSandboxConfig.fromPartial({
  metadata: { name: "p", namespace: "d", uid: "u" },
  labels: { a: "b" },
});
const pod: PodRecord = {
  id,
  plan: planPodSandbox({
    config: podConfig,
    runtimeHandler: "",
    host,
    handler: { name: "crun", recursiveReadOnlyMounts: true, userNamespaces: true, sandbox: "container" },
    id,
  }),
  name: "p",
  config: podConfig,
  runtimeHandler: "",
  handler: "crun",
  createdAtNs: 1n,
  bootId: "boot",
  init: { pid: 7, startTicks: 1 },
  sandbox: { monitor: { pid: 8, startTicks: 2 } },
  state: { is: "ready", ips: ["10.0.0.2"] },
};

test("records survive the way through the database", () => {
  const db = openDatabase(":memory:");
  const containers = new RecordTable(db, "containers", readContainerRecord, writeContainerRecord);
  containers.put(id, container);
  assert.deepEqual(containers.readAll().records.get(id), container);
  const pods = new RecordTable(db, "pods", readPodRecord, writePodRecord);
  pods.put(id, pod);
  assert.deepEqual(pods.readAll().records.get(id), pod);
  const ids = [{ containerId: 0, hostId: 100_000, length: 65_536 }];
  const mapped = { ...pod, plan: { ...pod.plan, userNamespace: { uids: ids, gids: ids } } };
  pods.put(id, mapped);
  assert.deepEqual(pods.readAll().records.get(id), mapped);
});

test("a pod's damaged mappings are refused", () => {
  for (const uids of [[], [{ hostId: 1 }], "0 1 2", null]) {
    const plan = { ...pod.plan, userNamespace: { uids, gids: [{ containerId: 0, hostId: 1, length: 1 }] } };
    assert.throws(() => readPodRecord({ ...writePodRecord(pod), plan }), JSON.stringify(uids));
  }
});

for (const [what, change] of [
  ["an id that is a path", { id: "../../etc" }],
  ["a state that does not exist", { state: { is: "paused" } }],
  ["a signal out of range", { stopSignal: { name: "SIGX", number: 99 } }],
  [
    "pid 1 as a container's process",
    { state: { is: "created", main: { pid: 1, startTicks: 1 }, monitor: { pid: 4, startTicks: 6 } } },
  ],
  ["a config that is no message", { config: "/////w==" }],
  ["a cgroup elsewhere", { cgroupPath: "/a/../b" }],
  ["no image", { imageId: undefined }],
] as const) {
  test(`a damaged record is refused, by the field's name: ${what}`, () => {
    assert.throws(
      () => readContainerRecord({ ...writeContainerRecord(container), ...change }),
      new RegExp(Object.keys(change)[0]!),
    );
  });
}

for (const [what, change] of [
  ["no cgroup", { cgroup: undefined }],
  ["a cgroup elsewhere", { cgroup: { ...pod.plan.cgroup, path: "/a/../b" } }],
  ["a namespace mode of a later build", { network: "shared" }],
  ["an impossible port", { portMappings: [{ protocol: "tcp", containerPort: 80, hostPort: 70_000, hostIP: "" }] }],
  ["labels that are none", { labels: { a: 1 } }],
  ["a sysctl without its file", { sysctls: [{ name: "a.b", value: "1", namespace: "ipc" }] }],
  ["no size of /dev/shm", { shmSizeBytes: undefined }],
] as const) {
  test(`a pod's damaged plan is refused, by the field's name: ${what}`, () => {
    const plan = { ...pod.plan, ...change };
    assert.throws(() => readPodRecord({ ...writePodRecord(pod), plan }), new RegExp(`plan.${Object.keys(change)[0]}`));
  });
}

test("what older builds did not write has the value that it stood for then", () => {
  const { sandbox: _, ...plan } = pod.plan;
  assert.equal(readPodRecord({ ...writePodRecord(pod), plan }).plan.sandbox, "none");
  const { mountedImages: __, ...written } = writeContainerRecord(container) as ContainerRecord;
  assert.deepEqual(readContainerRecord(written).mountedImages, []);
});

test("what a later build wrote beside is written back with the rest", () => {
  const later = { later: { a: [1] } };
  const { plan, state } = pod;
  const writtenPod = { ...writePodRecord(pod), ...later, plan: { ...plan, ...later }, state: { ...state, ...later } };
  assert.deepEqual(writePodRecord(readPodRecord(writtenPod)), writtenPod);
  const written = { ...writeContainerRecord(container), ...later, state: { ...container.state, ...later } };
  assert.deepEqual(writeContainerRecord(readContainerRecord(written)), { ...written, resizing: undefined });
});
