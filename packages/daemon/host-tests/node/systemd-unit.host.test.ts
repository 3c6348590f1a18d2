import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { createCriClient } from "@keelson/cri/client.ts";
import { ContainerState, NamespaceMode } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { RequestOf, ResponseOf, UnaryCallName } from "@keelson/cri/service.ts";
import { linesOf, logSoFar } from "@keelson/testkit/cri-log.ts";
import { skip as noSandbox } from "@keelson/testkit/host-sandbox.ts";
import { waitFor } from "@keelson/testkit/wait.ts";
import { cgroupDriver, keelsond, TestNode } from "../testing/test-node.ts";

const skip =
  noSandbox ||
  (cgroupDriver === "systemd" ? false : "needs systemd: npm run test:guest -- --driver systemd systemd-unit");
const namespaceOptions = { pid: NamespaceMode.POD, network: NamespaceMode.NODE };

function systemctl(...args: string[]): string {
  return execFileSync("systemctl", args, { encoding: "utf8", timeout: 100_000 });
}

/** What the daemon has said. */
function journal(): string {
  return execFileSync("journalctl", ["--unit=keelsond", "--no-pager", "--lines=40"], { encoding: "utf8" });
}

test("with the unit that ships, containers run and log on while keelsond is restarted", { skip }, async () => {
  await using node = await TestNode.start({ network: false });
  await node.stop();
  const unit = "/run/systemd/system/keelsond.service";
  const shipped = readFileSync(join(import.meta.dirname, "../../../../packaging/keelsond.service"), "utf8");
  const environment = ["NODE_OPTIONS", "NODE_COMPILE_CACHE"]
    .map((name) => `Environment="${name}=${process.env[name] ?? ""}"`)
    .join("\n");
  writeFileSync(
    unit,
    shipped.replace(/^ExecStart=.*$/m, `ExecStart=${keelsond} --config ${node.configFile}\n${environment}`),
  );
  // Before the node, which has a daemon of its own look whether anything is left.
  using ends = new DisposableStack();
  ends.defer(() => {
    systemctl("stop", "keelsond");
    rmSync(unit);
    systemctl("daemon-reload");
  });
  systemctl("daemon-reload");
  systemctl("start", "keelsond");
  await waitFor(() => existsSync(node.socketPath), { message: journal });
  const daemonPid = () => Number(systemctl("show", "--property=MainPID", "--value", "keelsond"));
  const firstPid = daemonPid();
  // The unit is in the machine's own namespaces, not in this test's: only it can take down what it made.
  const client = createCriClient(node.endpoint);
  ends.defer(() => client.close());
  const call = <N extends UnaryCallName>(name: N, request: RequestOf<N>): Promise<ResponseOf<N>> =>
    client.call(name, request, AbortSignal.timeout(120_000));
  const status = async (containerId: string) =>
    (await call("containerStatus", { containerId, verbose: false })).status!;

  const config = node.podConfig({ linux: { securityContext: { namespaceOptions } } });
  const { podSandboxId } = await call("runPodSandbox", { config, runtimeHandler: "" });
  const container = node.containerConfig("i=0; while sleep 0.1; do echo $((i+=1)); done");
  const { containerId } = await call("createContainer", { podSandboxId, config: container, sandboxConfig: config });
  await call("startContainer", { containerId });
  const { logPath } = await status(containerId);
  const lines = () => linesOf(logSoFar(logPath));
  await waitFor(() => existsSync(logPath) && lines().length > 3);

  const { info } = await call("containerStatus", { containerId, verbose: true });
  const { pid } = JSON.parse(info["info"]!) as { pid: number };
  systemctl("restart", "keelsond");
  await waitFor(() => call("version", { version: "" }).catch(() => undefined), { timeoutMs: 30_000 });
  assert.notEqual(daemonPid(), firstPid);
  const logged = lines().length;
  assert.equal((await status(containerId)).state, ContainerState.CONTAINER_RUNNING);
  assert.equal(JSON.parse((await call("containerStatus", { containerId, verbose: true })).info["info"]!).pid, pid);
  await waitFor(() => lines().length > logged + 3);
  assert.deepEqual(
    lines(),
    lines().map((_, i) => String(i + 1)),
    "no line is lost",
  );

  await call("stopPodSandbox", { podSandboxId });
  await call("removePodSandbox", { podSandboxId });
});
