import assert from "node:assert/strict";
import { test } from "node:test";
import { Code } from "@keelson/base/status.ts";
import { PodSandboxConfig } from "@keelson/cri/gen/runtime/v1/api.ts";
import { planPodSandbox } from "./pod-plan.ts";
import { containerFrom, handlerFrom, hostFrom, podFrom } from "./testing/plan-fixture.ts";

const input = { runtimeHandler: "", host: hostFrom(), handler: handlerFrom(), id: "p" };
const security = (context: object) => ({ linux: { security_context: context } });
const namespaces = (options: object) => security({ namespace_options: options });
const refused = (pod: object, code: Code, message: RegExp) =>
  assert.throws(() => podFrom({ pod }), { code, message }, JSON.stringify(pod));

test("metadata is required and bounded", () => {
  assert.throws(() => planPodSandbox({ ...input, config: PodSandboxConfig.fromPartial({}) }), {
    code: Code.InvalidArgument,
    message: /^metadata /,
  });
  for (const key of ["name", "namespace", "uid"]) {
    const metadata = { name: "n", namespace: "s", uid: "u" };
    for (const bad of ["", "a\nb", "a\0", "a/b", "x".repeat(254)])
      refused({ metadata: { ...metadata, [key]: bad } }, Code.InvalidArgument, new RegExp(`^metadata\\.${key} `));
  }
  assert.equal(podFrom({ pod: { metadata: { name: "n", namespace: "s", uid: "u", attempt: 3 } } }).nameKey, "n_s_u_3");
});

test("the hostname is the config's, else the machine's", () => {
  assert.equal(podFrom({ pod: { hostname: "" } }).hostname, "node-1");
  for (const hostname of ["-a", "a b", "a\n", "x".repeat(65), "a/b", "ä"])
    refused({ hostname }, Code.InvalidArgument, /^hostname /);
});

test("a pod in the host's network shares its hostname unless it asks for another", () => {
  assert.equal(podFrom({ pod: { hostname: "", ...namespaces({ network: "NODE" }) } }).uts, "host");
  assert.equal(podFrom({ pod: { hostname: "web", ...namespaces({ network: "NODE" }) } }).uts, "own");
  assert.equal(podFrom({ pod: { hostname: "" } }).uts, "own");
});

test("namespace modes that a pod cannot have are refused", () => {
  refused(namespaces({ network: "CONTAINER" }), Code.InvalidArgument, /network must be POD or NODE/);
  refused(namespaces({ ipc: "TARGET" }), Code.InvalidArgument, /ipc/);
  refused(namespaces({ pid: "TARGET" }), Code.InvalidArgument, /pid/);
  refused(namespaces({ target_id: "x" }), Code.InvalidArgument, /target_id/);
});

test("what a handler's guests lack of the node is refused by the handler's name", () => {
  const handler = { name: "kata", lacks: { hostNetwork: true, hostPid: true, hostDevices: true } } as const;
  const hint = (feature: string) =>
    new RegExp(`runtime handler kata has no .*features\\.${feature} in \\[runtimes\\.kata\\]`);
  for (const [pod, feature] of [
    [namespaces({ network: "NODE" }), "host_network"],
    [namespaces({ pid: "NODE" }), "host_pid"],
  ] as const) {
    assert.throws(() => podFrom({ pod, handler }), { code: Code.FailedPrecondition, message: hint(feature) });
    assert.doesNotThrow(() => podFrom({ pod }));
  }
  const devices = [{ container_path: "/dev/x", host_path: "/dev/x", permissions: "r" }];
  assert.throws(() => containerFrom({ container: { devices }, handler }), {
    code: Code.FailedPrecondition,
    message: hint("host_devices"),
  });
});

test("the default of pid is POD, as the CRI has it", () => {
  assert.equal(podFrom({}).pid, "pod");
  assert.equal(podFrom({ pod: namespaces({ pid: "CONTAINER" }) }).pid, "container");
});

test("DNS values are single words, and without a DNS config the host's file is used", () => {
  assert.equal(podFrom({}).resolvConf, undefined);
  assert.equal(podFrom({ pod: { dns_config: {} } }).resolvConf, "");
  for (const bad of ["a b", "a\nnameserver 6.6.6.6", "", "\0"]) {
    for (const key of ["servers", "searches", "options"])
      refused({ dns_config: { [key]: [bad] } }, Code.InvalidArgument, new RegExp(`^dns_config\\.${key} `));
  }
});

test("port mappings are checked; those without a host port, or in the host's network, need no work", () => {
  const map = (mapping: object) => podFrom({ pod: { port_mappings: [mapping] } }).portMappings;
  assert.deepEqual(map({ container_port: 80 }), []);
  assert.deepEqual(map({ container_port: 80, host_port: 8080, host_ip: "::1", protocol: "SCTP" }), [
    { protocol: "sctp", containerPort: 80, hostPort: 8080, hostIP: "::1" },
  ]);
  for (const bad of [
    { container_port: 65536 },
    { container_port: -1 },
    { host_port: 80 },
    { container_port: 1, host_port: 70000 },
    { container_port: 1, host_ip: "localhost" },
  ]) {
    refused({ port_mappings: [bad] }, Code.InvalidArgument, /^port_mappings\[0\]/);
  }
  refused(
    {
      port_mappings: [
        { container_port: 1, host_port: 2 },
        { container_port: 3, host_port: 2 },
      ],
    },
    Code.InvalidArgument,
    /twice/,
  );
  assert.deepEqual(
    podFrom({ pod: { port_mappings: [{ container_port: 1, host_port: 1 }], ...namespaces({ network: "NODE" }) } })
      .portMappings,
    [],
  );
});

test("a wrong setting of the pod's own process is an error", () => {
  refused(security({ run_as_group: { value: "1" } }), Code.InvalidArgument, /run_as_group/);
  refused(security({ seccomp: { profile_type: "Localhost" } }), Code.InvalidArgument, /localhost_ref/);
  podFrom({
    pod: security({
      run_as_user: { value: "65535" },
      seccomp: { profile_type: "RuntimeDefault" },
      readonly_rootfs: true,
    }),
  });
});

test("the log directory is absolute", () => {
  refused({ log_directory: "logs" }, Code.InvalidArgument, /^log_directory /);
  assert.equal(podFrom({ pod: { log_directory: "/var/log//x/" } }).logDirectory, "/var/log/x");
});

test("a plan is plain JSON", () => {
  const plan = podFrom({ pod: { labels: { a: "b" } } });
  assert.deepEqual(JSON.parse(JSON.stringify(plan)), plan);
});
