// The numbers of a real daemon, at the address that its configuration names.
import assert from "node:assert/strict";
import { appendFileSync } from "node:fs";
import { createServer } from "node:net";
import { after, before, describe, test } from "node:test";
import { skip } from "@keelson/testkit/host-sandbox.ts";
import { waitFor } from "@keelson/testkit/wait.ts";
import { TestNode } from "../testing/test-node.ts";

describe("metrics", { skip }, () => {
  let node: TestNode;
  before(async () => {
    node = await TestNode.start();
    appendFileSync(node.configFile, '[metrics]\naddress = "127.0.0.1:9479"\n');
    await node.stop();
  });
  after(() => node[Symbol.asyncDispose]());

  const read = async () => (await fetch("http://127.0.0.1:9479/metrics")).text();

  test("tell of calls, pods, ends, and of output that was cut", async () => {
    await node.startAgain();
    const pod = await node.runPod();
    const id = await node.runContainer(pod, "sleep 600");
    const { stdout } = await node.call("execSync", {
      containerId: id,
      cmd: ["head", "-c", String(17 << 20), "/dev/zero"],
      timeout: 30n,
    });
    assert.equal(stdout.length, 16 << 20);
    const text = await read();
    assert.match(text, /^keelson_pods\{state="ready"\} 1$/m);
    assert.match(text, /^keelson_containers\{state="running"\} 1$/m);
    assert.match(text, /^keelson_calls_total\{call="runPodSandbox",code="Ok"\} 1$/m);
    assert.match(text, /^keelson_dropped_total\{what="exec_output"\} 1$/m);
    assert.match(text, /^process_resident_memory_bytes [1-9]\d{6,}$/m);
    await node.call("stopContainer", { containerId: id, timeout: 0n });
    assert.match(await read(), /^keelson_container_exits_total\{reason="Error"\} 1$/m);
    await node.removePod(pod.id);
  });

  test("that cannot be served do not keep the daemon from running pods", async () => {
    await node.stop();
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(9479, "127.0.0.1", resolve));
    await node.startAgain();
    await waitFor(() => /metrics cannot be served; free the address/.test(node.daemonLog()), {
      message: "the log does not say so",
    });
    await node.removePod((await node.runPod()).id);
    await new Promise((resolve) => other.close(resolve));
  });
});
