// What a real daemon tells of how a pod came up: in the pod's status, to a collector, and in a dump.
import assert from "node:assert/strict";
import { appendFileSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { after, before, describe, test } from "node:test";
import type { OperationRecord } from "@keelson/engine/operations.ts";
import { skip } from "@keelson/testkit/host-sandbox.ts";
import { waitFor } from "@keelson/testkit/wait.ts";
import { TestNode } from "../testing/test-node.ts";

describe("the trace of a pod", { skip }, () => {
  let node: TestNode;
  const bodies: string[] = [];
  const collector = createServer((req, res) => {
    let body = "";
    req.setEncoding("utf8").on("data", (chunk: string) => (body += chunk));
    req.on("end", () => {
      bodies.push(body);
      res.end("{}");
    });
  });
  before(async () => {
    await new Promise<void>((resolve) => collector.listen(4318, "127.0.0.1", resolve));
    node = await TestNode.start();
    appendFileSync(node.configFile, '[tracing]\nendpoint = "http://127.0.0.1:4318"\n');
    await node.stop();
    await node.startAgain();
  });
  after(async () => {
    await node[Symbol.asyncDispose]();
    await new Promise((resolve) => collector.close(resolve));
  });

  test("has its calls with their stages, and what the plugins took", async () => {
    const pod = await node.runPod();
    const id = await node.runContainer(pod, "sleep 600");
    const { info } = await node.call("podSandboxStatus", { podSandboxId: pod.id, verbose: true });
    const trace = JSON.parse(info["trace"]!) as (OperationRecord & { startedAtNs: string })[];
    assert.deepEqual(
      trace.map((o) => [o.call, o.code]),
      [
        ["RunPodSandbox", "Ok"],
        ["CreateContainer", "Ok"],
        ["StartContainer", "Ok"],
      ],
    );
    const network = trace[0]!.stages.find((s) => s.name === "attach the network")!;
    assert.ok(
      network.details.some((d) => d.name.includes("plugin bridge: ADD") && d.endMs > d.startMs),
      JSON.stringify(network),
    );
    for (const { durationMs, stages } of trace)
      for (const stage of stages)
        assert.ok(stage.startMs >= 0 && stage.endMs >= stage.startMs && stage.endMs <= durationMs + 0.01);
    assert.equal(trace[1]!.containerId, id);
    await node.removePod(pod.id);
    await waitFor(() => bodies.join("").includes('"RemovePodSandbox"'), {
      timeoutMs: 15_000,
      message: "the collector got no spans",
    });
    assert.match(bodies.join(""), /"attach the network"/);
  });

  test("is not needed to see what hangs: SIGUSR1 writes it down", async () => {
    process.kill(node.pid, "SIGUSR1");
    const [, file] = await waitFor(() => /"file":"([^"]*dump-\d+\.json)"/.exec(node.daemonLog()), {
      message: "the log names no dump",
    });
    assert.deepEqual((JSON.parse(readFileSync(file!, "utf8")) as { operations: unknown[] }).operations, []);
  });
});
