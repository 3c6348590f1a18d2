// What a user learns of a container whose command cannot be executed, and what inspecting one that runs shows.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe } from "node:test";
import { Code } from "@keelson/base/status.ts";
import { ContainerConfig, ContainerState } from "@keelson/cri/gen/runtime/v1/api.ts";
import { fromJson } from "@keelson/cri/json.ts";
import { busyboxImage } from "@keelson/testkit/image.ts";
import { file } from "@keelson/testkit/tar.ts";
import { waitFor } from "@keelson/testkit/wait.ts";
import { eachRuntime, skipFor, testFor } from "../testing/each-runtime.ts";
import { shareNode } from "../testing/shared-node.ts";
import { imageSpec, type Pod, rejectsWith, TestNode } from "../testing/test-node.ts";

/** busybox, said to be for arm64 (elf(5), e_machine). */
function foreignProgram(): Buffer {
  const bytes = readFileSync("/bin/busybox");
  bytes.writeUInt16LE(183, 18);
  return bytes;
}

const useNode = shareNode();

for (const runtime of eachRuntime) {
  const test = testFor(runtime);
  describe(`a container with ${runtime}`, { skip: skipFor(runtime), concurrency: 3 }, () => {
    let node: TestNode;
    let pod: Pod;
    let image: string;
    useNode(async (shared) => {
      node = shared;
      pod = await node.runPod({}, runtime);
      const extra = [
        file("bin/data", "text\n", { mode: 0o644 }),
        file("bin/python-script", "#!/usr/bin/python3\n", { mode: 0o755 }),
        file("bin/dos-script", "#!/bin/sh\r\nexit 0\r\n", { mode: 0o755 }),
        file("bin/no-shebang", "exit 0\n", { mode: 0o755 }),
        file("bin/arm", foreignProgram(), { mode: 0o755 }),
        file("bin/dynamic", readFileSync("/usr/bin/env"), { mode: 0o755 }),
        file("bin/fails", "#!/bin/sh\nexit 1\n", { mode: 0o755 }),
        file("bin/root-only", "#!/bin/sh\nexit 1\n", { mode: 0o700 }),
      ];
      image = node.registry.add("library/odd-commands", "latest", busyboxImage({ extra }));
      await node.call("pullImage", { image: imageSpec(image), auth: undefined, sandboxConfig: undefined });
    });

    const cases: [what: string, command: string, exitCode: number, message: RegExp][] = [
      ["does not exist", "/no/such", 127, /^the command "\/no\/such" does not exist/],
      [
        "is not in PATH",
        "no-such",
        127,
        /^the command "no-such" is in none of the directories of the container's PATH \("\/bin"\)/,
      ],
      ["is not executable", "data", 126, /^the command "data" may not be executed by user 0: its mode is 0644/],
      ["is a directory", "/bin", 126, /^the command "\/bin" is a directory/],
      [
        "has no interpreter",
        "python-script",
        127,
        /^the command "python-script" is a script for the interpreter "\/usr\/bin\/python3", which the container does not have/,
      ],
      ["has Windows line endings", "dos-script", 127, /Windows line endings/],
      [
        "has no dynamic loader",
        "dynamic",
        127,
        /^the command "dynamic" needs the dynamic loader "\/lib64\/ld-linux-x86-64\.so\.2", which the container does not have/,
      ],
      [
        "is for another machine",
        "/bin/arm",
        126,
        /^the command "\/bin\/arm" is a program for arm64, and this machine is amd64/,
      ],
      ["is no program", "no-shebang", 126, /^the command "no-shebang" is neither a Linux program nor a script/],
    ];
    for (const [what, command, exitCode, message] of cases) {
      test(`whose command ${what} has ended before it began, and says why`, async () => {
        const id = await node.createContainer(pod, { image: { image }, command: [command] });
        try {
          await node.startContainer(id);
        } catch (error) {
          assert.match(String(error), new RegExp(message.source.replace("^", "start container \\w+: ")));
        }
        const status = await node.untilExited(id);
        assert.deepEqual([status.exitCode, status.reason], [exitCode, "StartError"]);
        assert.match(status.message, message);
        await rejectsWith(
          Code.FailedPrecondition,
          node.startContainer(id),
          new RegExp(message.source.replace("^", "")),
        );
        await node.removeContainer(id);
      });
    }

    test("whose command may be executed by another user only says so", async () => {
      const id = await node.createContainer(pod, {
        image: { image },
        command: ["root-only"],
        linux: { securityContext: { runAsUser: { value: 1000n }, namespaceOptions: { pid: 1 } } },
      });
      await node.startContainer(id).catch(() => {});
      assert.match((await node.untilExited(id)).message, /may not be executed by user 1000: its mode is 0700/);
      await node.removeContainer(id);
    });

    test("whose environment is too large has ended before it began, and says why", async () => {
      const variables = (count: number, value: string) =>
        Array.from({ length: count }, (_, i) => ({ key: `V${i}`, value: Buffer.from(value) }));
      const cases = [
        [variables(1, "x".repeat(131_072)), /its variable "V0" has 131075 bytes, and the kernel allows 131071/],
        [variables(70, "x".repeat(100_000)), /73 variables \(\d{7} bytes\).* and the kernel allows \d+/],
      ] as const;
      for (const [envs, message] of cases) {
        const id = await node.createContainer(pod, { image: { image }, command: ["/bin/true"], envs });
        // gVisor's kernel has no such limits.
        if (runtime === "runsc") {
          await node.startContainer(id);
          assert.equal((await node.untilExited(id)).exitCode, 0);
        } else {
          await rejectsWith(Code.FailedPrecondition, node.startContainer(id), message);
          const status = await node.untilExited(id);
          assert.deepEqual([status.exitCode, status.reason], [126, "StartError"]);
          assert.match(status.message, message);
        }
        await node.removeContainer(id);
      }
    });

    test("whose environment is as large as the kernel allows runs, and refuses a command that is not", async () => {
      const id = await node.runContainer(pod, {
        image: { image },
        command: ["sleep", "600"],
        envs: [{ key: "V", value: Buffer.from("x".repeat(131_069)) }],
      });
      assert.equal((await node.exec(id, ["sh", "-c", "echo ${#V}"])).stdout, "131069\n");
      if (runtime !== "runsc")
        await rejectsWith(
          Code.FailedPrecondition,
          node.exec(id, ["true", "x".repeat(131_072)]),
          /^.*exec in container \w+: the command "true" cannot be executed: its argument 1 has 131072 bytes/,
        );
      await node.removeContainer(id);
    });

    test("whose command runs and fails has that command's exit code", async () => {
      const id = await node.runContainer(pod, { image: { image }, command: ["fails"] });
      const status = await node.untilExited(id);
      assert.deepEqual([status.exitCode, status.reason, status.message], [1, "Error", ""]);
      await node.removeContainer(id);
    });

    test("is shown by its verbose status with pid, config and runtime spec, and its pod likewise", async () => {
      const config = node.containerConfig("sleep 600");
      const id = await node.runContainer(pod, config);
      const { info } = await node.call("containerStatus", { containerId: id, verbose: true });
      const shown = JSON.parse(info["info"]!) as {
        sandboxID: string;
        pid: number;
        snapshotKey: string;
        config: object;
        runtimeSpec: { process: { args: string[] }; linux: { namespaces: object[] } };
      };
      assert.deepEqual(
        [shown.sandboxID, shown.snapshotKey, shown.runtimeSpec.process.args],
        [pod.id, id, ["sh", "-c", "sleep 600"]],
      );
      // The runtime's own process becomes the command a moment after the start was reported.
      await waitFor(() => readFileSync(`/proc/${shown.pid}/cmdline`, "utf8").includes("sleep"), {
        message: "its pid is not that of its command",
      });
      assert.ok(shown.runtimeSpec.linux.namespaces.length > 0);
      const { containerId } = await node.call("createContainer", {
        podSandboxId: pod.id,
        config: {
          ...ContainerConfig.fromPartial(fromJson("ContainerConfig", shown.config)),
          metadata: { name: `${config.metadata!.name}-again`, attempt: 0 },
        },
        sandboxConfig: pod.config,
      });
      assert.equal(
        (await node.containerStatus(containerId)).state,
        ContainerState.CONTAINER_CREATED,
        "what is shown can be given again",
      );
      await Promise.all([id, containerId].map((each) => node.removeContainer(each)));

      const ofPod = JSON.parse(
        (await node.call("podSandboxStatus", { podSandboxId: pod.id, verbose: true })).info["info"]!,
      ) as { pid: number; config: { metadata: object } };
      assert.deepEqual([ofPod.pid, (ofPod.config.metadata as { name: string }).name], [0, pod.config.metadata!.name]);
    });
  });
}
