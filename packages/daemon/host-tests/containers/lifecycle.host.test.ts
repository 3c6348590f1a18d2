// The life of pods and containers through every call, on a real daemon.
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { describe, test } from "node:test";
import { Code } from "@keelson/base/status.ts";
import {
  type ContainerConfig,
  ContainerState,
  type DeepPartial,
  MountPropagation,
  PodSandboxConfig,
  PodSandboxState,
  Signal,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import { skip } from "@keelson/testkit/host-sandbox.ts";
import { busyboxImage } from "@keelson/testkit/image.ts";
import { withoutRuntime } from "@keelson/testkit/runtime-binary.ts";
import { file } from "@keelson/testkit/tar.ts";
import { eachRuntime, testFor } from "../testing/each-runtime.ts";
import { shareNode } from "../testing/shared-node.ts";
import { imageSpec, type Pod, rejectsWith, TestNode } from "../testing/test-node.ts";

const unknownId = "0".repeat(64);

const useNode = shareNode();

describe("pods and containers", { skip }, () => {
  let node: TestNode;
  useNode((shared) => void (node = shared));

  for (const runtime of eachRuntime) {
    const test = testFor(runtime);
    test(`a pod and a container live through every state with ${runtime}`, async () => {
      const startedAt = BigInt(Date.now()) * 1_000_000n;
      const labels = { app: "web", "example.com/tier": "front" };
      const annotations = { "example.com/note": "two words, ünïcode\nand a second line" };
      const pod = await node.runPod({ labels, annotations, hostname: "web-0" }, runtime);
      assert.match(pod.id, /^[0-9a-f]{64}$/);
      const ready = await node.podStatus(pod.id);
      assert.equal(ready.state, PodSandboxState.SANDBOX_READY);
      assert.deepEqual([ready.labels, ready.annotations, ready.runtimeHandler], [labels, annotations, runtime]);
      assert.deepEqual(ready.metadata, pod.config.metadata);
      assert.match(ready.network!.ip, /^10\.99\.\d+\.\d+$/);
      assert.ok(ready.createdAt >= startedAt);

      const config = node.containerConfig({
        command: ["sh", "-c", "trap 'exit 7' TERM; echo up; while :; do sleep 0.05; done"],
        labels,
        annotations,
      });
      const request = { podSandboxId: pod.id, config, sandboxConfig: pod.config };
      const { containerId: id } = await node.call("createContainer", request);
      const created = await node.containerStatus(id);
      assert.equal(created.state, ContainerState.CONTAINER_CREATED);
      assert.deepEqual([created.startedAt, created.finishedAt, created.exitCode, created.reason], [0n, 0n, 0, ""]);
      assert.deepEqual([created.labels, created.annotations, created.metadata], [labels, annotations, config.metadata]);
      assert.match(created.imageRef, /\/library\/busybox@sha256:[0-9a-f]{64}$/);
      assert.equal(created.imageId, node.imageId);
      assert.equal(created.image?.image, node.image);
      assert.equal(created.logPath, `${pod.config.logDirectory}/${config.logPath}`);
      assert.ok(created.createdAt >= ready.createdAt);
      await rejectsWith(Code.FailedPrecondition, node.exec(id, "true"), /created/);
      await rejectsWith(Code.FailedPrecondition, node.call("reopenContainerLog", { containerId: id }));

      await node.startContainer(id);
      const running = await node.containerStatus(id);
      assert.equal(running.state, ContainerState.CONTAINER_RUNNING);
      assert.ok(running.startedAt >= created.createdAt);
      assert.deepEqual([running.finishedAt, running.reason], [0n, ""]);
      await rejectsWith(Code.FailedPrecondition, node.startContainer(id), /running/);
      await node.untilLogged(id, "up");

      await node.stopContainer(id, 10);
      const exited = await node.containerStatus(id);
      assert.equal(exited.state, ContainerState.CONTAINER_EXITED);
      assert.deepEqual([exited.exitCode, exited.reason], [7, "Error"]);
      assert.ok(exited.finishedAt >= running.startedAt);
      assert.ok(exited.finishedAt <= BigInt(Date.now() + 1) * 1_000_000n);
      assert.equal(exited.startedAt, running.startedAt);
      await node.stopContainer(id, 10);
      assert.deepEqual(await node.containerStatus(id), exited);
      await rejectsWith(Code.FailedPrecondition, node.exec(id, "true"), /exited/);
      await rejectsWith(Code.FailedPrecondition, node.startContainer(id), /exited/);
      await rejectsWith(Code.FailedPrecondition, node.call("reopenContainerLog", { containerId: id }));

      await node.removeContainer(id);
      await rejectsWith(Code.NotFound, node.containerStatus(id));
      await node.removeContainer(id);
      await node.stopContainer(id, 10);

      await node.stopPod(pod.id);
      assert.equal((await node.podStatus(pod.id)).state, PodSandboxState.SANDBOX_NOTREADY);
      await node.stopPod(pod.id);
      await rejectsWith(Code.FailedPrecondition, node.createContainer(pod, "true"), /not ready/);
      await node.call("removePodSandbox", { podSandboxId: pod.id });
      await rejectsWith(Code.NotFound, node.podStatus(pod.id));
      await node.removePod(pod.id);
      assert.ok(existsSync(created.logPath), "logs belong to the kubelet and stay");
    });

    test(`an end has its exit code and reason with ${runtime}`, async () => {
      const pod = await node.runPod({}, runtime);
      const endOf = async (script: string) => {
        const { exitCode, reason } = await node.untilExited(await node.runContainer(pod, script));
        return [exitCode, reason];
      };
      assert.deepEqual(await Promise.all(["exit 0", "exit 3", "exit 255"].map(endOf)), [
        [0, "Completed"],
        [3, "Error"],
        [255, "Error"],
      ]);
      await node.removePod(pod.id);
    });

    // pid_namespaces(7)
    test(`process 1 is not ended by its own signals with ${runtime}`, async () => {
      const pod = await node.runPod({}, runtime);
      const { exitCode, reason } = await node.untilExited(
        await node.runContainer(pod, "kill -KILL $$; kill -9 $$; exit 0"),
      );
      assert.deepEqual([exitCode, reason], [0, "Completed"]);
      await node.removePod(pod.id);
    });

    test(`a container that uses more memory than it may has OOMKilled with ${runtime}`, async () => {
      const pod = await node.runPod({}, runtime);
      const limit = 15n * 1024n * 1024n;
      const id = await node.runContainer(pod, {
        command: ["sh", "-c", "dd if=/dev/zero of=/dev/null bs=20M"],
        linux: { resources: { memoryLimitInBytes: limit, memorySwapLimitInBytes: limit } },
      });
      const { exitCode, reason, resources } = await node.untilExited(id, 30_000);
      assert.deepEqual([exitCode, reason], [137, "OOMKilled"]);
      assert.equal(resources?.linux?.memoryLimitInBytes, limit);
      await node.removePod(pod.id);
    });

    test(`a command that is not there is an error with its name, and leaves nothing, with ${runtime}`, async () => {
      const pod = await node.runPod({}, runtime);
      const id = await node
        .createContainer(pod, { command: ["/no/such/program"] })
        .catch((error: unknown) => String(error));
      if (/^[0-9a-f]{64}$/.test(id)) {
        await assert.rejects(node.startContainer(id), /no\/such\/program/);
        const { state, reason } = await node.untilExited(id);
        assert.equal(state, ContainerState.CONTAINER_EXITED);
        assert.equal(reason, "StartError");
      } else {
        assert.match(id, /no\/such\/program/);
        const { containers } = await node.call("listContainers", { filter: undefined });
        assert.deepEqual(
          containers.filter((c) => c.podSandboxId === pod.id),
          [],
        );
      }
      await node.removePod(pod.id);
    });
  }

  test("an image is the same by every name, in every answer", async () => {
    const { image } = await node.call("imageStatus", { image: imageSpec(node.image), verbose: false });
    assert.equal(image?.id, node.imageId);
    const { images } = await node.call("listImages", { filter: undefined });
    assert.deepEqual(images, [image]);
    assert.deepEqual(image.repoTags, [node.image]);
    for (const name of [image.id, image.id.slice("sha256:".length), image.repoDigests[0]!]) {
      assert.deepEqual((await node.call("imageStatus", { image: imageSpec(name), verbose: false })).image, image);
    }
    const pod = await node.runPod();
    for (const name of [node.image, image.id, image.repoDigests[0]!]) {
      const id = await node.createContainer(pod, {
        command: ["true"],
        image: { image: name, userSpecifiedImage: "what the user wrote" },
      });
      const status = await node.containerStatus(id);
      assert.deepEqual(
        [status.imageId, status.imageRef, status.image?.image],
        [image.id, image.repoDigests[0], "what the user wrote"],
      );
      const { containers } = await node.call("listContainers", {
        filter: { id, state: undefined, podSandboxId: "", labelSelector: {} },
      });
      assert.deepEqual(
        containers.map((c) => [c.imageId, c.imageRef, c.image?.image]),
        [[image.id, image.id, name]],
      );
    }
    const nothing = await node.call("imageStatus", { image: imageSpec("127.0.0.1:1/no/such:image"), verbose: false });
    assert.equal(nothing.image, undefined);
    await rejectsWith(
      Code.NotFound,
      node.createContainer(pod, { image: { image: "127.0.0.1:1/no/such:image" } }),
      /pull/,
    );
    await node.removePod(pod.id);
  });

  test("lists are filtered by id, prefix, state, pod and all labels", async () => {
    const [one, two] = await Promise.all([
      node.runPod({ labels: { app: "a", n: "1" } }),
      node.runPod({ labels: { app: "a", n: "2" } }),
    ]);
    const pods = async (filter: { id?: string; state?: PodSandboxState; labelSelector?: Record<string, string> }) => {
      const { state, id = "", labelSelector = {} } = filter;
      const { items } = await node.call("listPodSandbox", {
        filter: { id, labelSelector, state: state === undefined ? undefined : { state } },
      });
      return items.map((item) => item.id).sort();
    };
    const both = [one.id, two.id].sort();
    assert.deepEqual(await pods({ labelSelector: { app: "a" } }), both);
    assert.deepEqual(await pods({ labelSelector: { app: "a", n: "2" } }), [two.id]);
    assert.deepEqual(await pods({ labelSelector: { app: "b" } }), []);
    assert.deepEqual(await pods({ id: one.id }), [one.id]);
    assert.deepEqual(await pods({ id: one.id.slice(0, 13) }), [one.id]);
    assert.deepEqual(await pods({ id: unknownId }), []);
    await node.stopPod(two.id);
    assert.deepEqual(await pods({ labelSelector: { app: "a" }, state: PodSandboxState.SANDBOX_READY }), [one.id]);
    assert.deepEqual(await pods({ labelSelector: { app: "a" }, state: PodSandboxState.SANDBOX_NOTREADY }), [two.id]);

    const created = await node.createContainer(one, { command: ["true"], labels: { foo: "bar", x: "1" } });
    const running = await node.runContainer(one, { command: ["sleep", "600"], labels: { foo: "bar", x: "2" } });
    const containers = async (filter: {
      id?: string;
      podSandboxId?: string;
      state?: ContainerState;
      labelSelector?: Record<string, string>;
    }) => {
      const { state, id = "", podSandboxId = "", labelSelector = {} } = filter;
      const answer = await node.call("listContainers", {
        filter: { id, podSandboxId, labelSelector, state: state === undefined ? undefined : { state } },
      });
      return answer.containers.map((c) => c.id).sort();
    };
    assert.deepEqual(await containers({ podSandboxId: one.id }), [created, running].sort());
    assert.deepEqual(await containers({ podSandboxId: one.id.slice(0, 12) }), [created, running].sort());
    assert.deepEqual(await containers({ podSandboxId: two.id }), []);
    assert.deepEqual(await containers({ labelSelector: { foo: "bar" } }), [created, running].sort());
    assert.deepEqual(await containers({ labelSelector: { foo: "bar", x: "1" } }), [created]);
    assert.deepEqual(await containers({ labelSelector: { foo: "baz" } }), []);
    assert.deepEqual(await containers({ state: ContainerState.CONTAINER_RUNNING, podSandboxId: one.id }), [running]);
    assert.deepEqual(await containers({ state: ContainerState.CONTAINER_CREATED, podSandboxId: one.id }), [created]);
    assert.deepEqual(await containers({ id: running.slice(0, 13), podSandboxId: one.id }), [running]);
    assert.deepEqual(await containers({ id: running, podSandboxId: two.id }), []);

    assert.equal((await node.containerStatus(running.slice(0, 13))).id, running);
    assert.equal((await node.podStatus(one.id.slice(0, 13))).id, one.id);
    await node.stopContainer(running.slice(0, 13), 0);
    await node.removeContainer(running.slice(0, 13));
    assert.deepEqual(await containers({ podSandboxId: one.id }), [created]);
    await node.removePod(one.id.slice(0, 13));
    await node.removePod(two.id);
    assert.deepEqual(await containers({ labelSelector: { foo: "bar" } }), []);
  });

  test("names are unique, and a retry gets what the first call made", async () => {
    const pod = await node.runPod();
    const again = await node.call("runPodSandbox", { config: pod.config, runtimeHandler: "" });
    assert.equal(again.podSandboxId, pod.id);
    const other = PodSandboxConfig.fromPartial({ ...pod.config, labels: { other: "yes" } });
    await rejectsWith(
      Code.AlreadyExists,
      node.call("runPodSandbox", { config: other, runtimeHandler: "" }),
      new RegExp(pod.id),
    );
    const nextAttempt = await node.runPod({ metadata: { ...pod.config.metadata!, attempt: 1 } });
    assert.notEqual(nextAttempt.id, pod.id);

    const config = node.containerConfig({ command: ["sleep", "600"] });
    const request = { podSandboxId: pod.id, config, sandboxConfig: pod.config };
    const answers = await Promise.all([1, 2, 3].map(() => node.call("createContainer", request)));
    const [id] = answers.map((answer) => answer.containerId);
    assert.equal(new Set(answers.map((answer) => answer.containerId)).size, 1);
    assert.equal((await node.call("createContainer", request)).containerId, id);
    await rejectsWith(
      Code.AlreadyExists,
      node.call("createContainer", { ...request, config: { ...config, labels: { other: "yes" } } }),
      new RegExp(id!),
    );
    await node.startContainer(id!);
    await rejectsWith(Code.AlreadyExists, node.call("createContainer", request), new RegExp(id!));

    // The name is free for another one when the first is removed, and the same in another pod.
    const elsewhere = await node
      .call("createContainer", { ...request, podSandboxId: nextAttempt.id, sandboxConfig: nextAttempt.config })
      .then(
        (answer) => answer.containerId,
        (error: unknown) => error,
      );
    assert.ok(typeof elsewhere === "string" || /taken/.test(String(elsewhere)), String(elsewhere));
    await node.removeContainer(id!);
    if (typeof elsewhere === "string") await node.removeContainer(elsewhere);
    assert.notEqual((await node.call("createContainer", request)).containerId, id);
    await node.removePod(pod.id);
    const reborn = await node.call("runPodSandbox", { config: pod.config, runtimeHandler: "" });
    assert.notEqual(reborn.podSandboxId, pod.id);
    await node.removePod(reborn.podSandboxId);
    await node.removePod(nextAttempt.id);
  });

  test("ten calls for the same pod at once make one pod", async () => {
    const config = node.podConfig();
    const answers = await Promise.all(
      Array.from({ length: 10 }, () => node.call("runPodSandbox", { config, runtimeHandler: "" })),
    );
    assert.equal(new Set(answers.map((answer) => answer.podSandboxId)).size, 1);
    await node.removePod(answers[0]!.podSandboxId);
  });

  test("stopping and removing what is unknown succeeds, asking for it is NotFound", async () => {
    for (const id of [unknownId, "abc", "no/such"]) {
      await node.stopPod(id);
      await node.call("removePodSandbox", { podSandboxId: id });
      await node.stopContainer(id, 0);
      await node.removeContainer(id);
      await rejectsWith(Code.NotFound, node.podStatus(id));
      await rejectsWith(Code.NotFound, node.containerStatus(id));
      await rejectsWith(Code.NotFound, node.startContainer(id));
      await rejectsWith(Code.NotFound, node.exec(id, "true"));
      await rejectsWith(Code.NotFound, node.call("reopenContainerLog", { containerId: id }));
      await rejectsWith(Code.NotFound, node.createContainer({ id, config: node.podConfig() }, "true"));
    }
    await node.call("removeImage", { image: imageSpec(`sha256:${unknownId}`) });
    await node.call("removeImage", { image: imageSpec("127.0.0.1:1/no/such:image") });
  });

  test("an id that is empty names nothing: InvalidArgument, never everything", async () => {
    const pod = await node.runPod();
    const id = await node.runContainer(pod, "sleep 600");
    await rejectsWith(Code.InvalidArgument, node.stopPod(""), /pod_sandbox_id/);
    await rejectsWith(Code.InvalidArgument, node.call("removePodSandbox", { podSandboxId: "" }), /pod_sandbox_id/);
    await rejectsWith(Code.InvalidArgument, node.podStatus(""), /pod_sandbox_id/);
    await rejectsWith(Code.InvalidArgument, node.stopContainer("", 0), /container_id/);
    await rejectsWith(Code.InvalidArgument, node.removeContainer(""), /container_id/);
    await rejectsWith(Code.InvalidArgument, node.containerStatus(""), /container_id/);
    await rejectsWith(Code.InvalidArgument, node.exec("", "true"), /container_id/);
    await rejectsWith(Code.InvalidArgument, node.call("removeImage", { image: imageSpec("") }), /image/);
    assert.equal((await node.containerStatus(id)).state, ContainerState.CONTAINER_RUNNING);
    await node.removePod(pod.id);
  });

  test("an image that is removed while containers use it stays usable for them, and its layers go with the last one", async () => {
    const usedBytes = async () => (await node.call("imageFsInfo", {})).imageFilesystems[0]!.usedBytes!.value;
    const before = await usedBytes();
    const image = node.registry.add(
      "library/in-use",
      "latest",
      busyboxImage({ extra: [file("note", "still here\n")] }),
    );
    await Promise.all(
      [1, 2, 3].map(() =>
        node.call("pullImage", { image: imageSpec(image), auth: undefined, sandboxConfig: undefined }),
      ),
    );
    assert.equal(
      node.registry.count({ pathIncludes: "in-use/blobs/" }),
      2,
      "three pulls at once fetch the config and the layer once",
    );
    const pod = await node.runPod();
    const running = await node.runContainer(pod, { image: { image }, command: ["sleep", "600"] });
    const created = await node.createContainer(pod, { image: { image }, command: ["cat", "/note"] });
    await Promise.all(Array.from({ length: 5 }, () => node.call("removeImage", { image: imageSpec(image) })));
    assert.equal((await node.call("imageStatus", { image: imageSpec(image), verbose: false })).image, undefined);
    assert.equal(await node.output(running, ["cat", "/note"]), "still here\n");
    await node.stop();
    await node.startAgain();
    await node.startContainer(created);
    assert.equal((await node.untilExited(created)).exitCode, 0);
    assert.ok((await usedBytes()) > before);
    await node.removePod(pod.id);
    assert.equal(await usedBytes(), before);
  });

  test("a container that is started twice at once runs once", async () => {
    const pod = await node.runPod();
    const id = await node.createContainer(pod, "echo once; sleep 600");
    const outcomes = await Promise.allSettled([1, 2, 3].map(() => node.startContainer(id)));
    assert.equal(outcomes.filter((outcome) => outcome.status === "fulfilled").length, 1);
    await node.untilLogged(id, "once");
    assert.equal((await node.log(id)).length, 1);
    await node.removePod(pod.id);
  });

  test("a container that ends at once is told of truly, a hundred times", async () => {
    const pod = await node.runPod();
    for (let i = 0; i < 10; i++) {
      await Promise.all(
        Array.from({ length: 10 }, async (_, j) => {
          const id = await node.runContainer(pod, { command: ["sh", "-c", `exit ${j}`] });
          assert.equal((await node.untilExited(id)).exitCode, j);
          await node.removeContainer(id);
        }),
      );
    }
    await node.removePod(pod.id);
  });

  test("a wrong request is InvalidArgument and names the field, and nothing is made", async () => {
    await rejectsWith(
      Code.InvalidArgument,
      node.call("runPodSandbox", { config: undefined, runtimeHandler: "" }),
      /config/,
    );
    await assert.rejects(node.runPod({}, "no-such-handler"), /no-such-handler/);
    const wrongPods: [DeepPartial<PodSandboxConfig>, RegExp][] = [
      [{ metadata: { name: "", uid: "u", namespace: "n" } }, /metadata\.name/],
      [{ hostname: "-wrong-" }, /hostname/],
      [{ logDirectory: "relative" }, /log_directory/],
      [{ dnsConfig: { servers: ["10.0.0.1\nnameserver 6.6.6.6"] } }, /dns_config/],
      [{ linux: { cgroupParent: "/a/../../b" } }, /cgroup_parent/],
      [{ linux: { sysctls: { "kernel.panic": "1" } } }, /kernel\.panic/],
      [{ linux: { securityContext: { runAsGroup: { value: 1n } } } }, /run_as_group/],
    ];
    for (const [overrides, words] of wrongPods) await rejectsWith(Code.InvalidArgument, node.runPod(overrides), words);
    const pod = await node.runPod();
    const wrongContainers: [DeepPartial<ContainerConfig>, RegExp][] = [
      [{ metadata: { name: "" } }, /metadata\.name/],
      [{ image: { image: "" } }, /image/],
      [{ logPath: "../../outside.log" }, /log_path/],
      [{ stdinOnce: true }, /stdin_once/],
      [{ mounts: [{ containerPath: "", hostPath: "/tmp" }] }, /mounts\[0\]\.container_path/],
      [{ mounts: [{ containerPath: "/x", hostPath: "" }] }, /mounts\[0\]\.host_path/],
      [{ mounts: [{ containerPath: "/x", hostPath: "/tmp", recursiveReadOnly: true }] }, /recursive_read_only/],
      [
        {
          mounts: [
            {
              containerPath: "/x",
              hostPath: "/tmp",
              recursiveReadOnly: true,
              readonly: true,
              propagation: MountPropagation.PROPAGATION_BIDIRECTIONAL,
            },
          ],
        },
        /recursive_read_only/,
      ],
      [{ linux: { securityContext: { runAsGroup: { value: 1000n } } } }, /run_as_group/],
      [{ linux: { securityContext: { runAsUsername: "nobody-here" } } }, /nobody-here/],
      [{ linux: { securityContext: { privileged: true } } }, /privileged/],
    ];
    for (const [overrides, words] of wrongContainers)
      await rejectsWith(Code.InvalidArgument, node.createContainer(pod, { command: ["true"], ...overrides }), words);
    const running = await node.runContainer(pod, "sleep 600");
    await rejectsWith(Code.InvalidArgument, node.exec(running, []), /cmd/);
    await rejectsWith(Code.InvalidArgument, node.exec(running, "true", -1), /timeout/);
    await rejectsWith(Code.InvalidArgument, node.stopContainer(running, -1), /timeout/);
    const { containers } = await node.call("listContainers", { filter: undefined });
    assert.deepEqual(
      containers.filter((c) => c.podSandboxId === pod.id).map((c) => c.id),
      [running],
    );
    await node.removePod(pod.id);
  });

  test("removing a running container, and a pod with running containers, takes them down", async () => {
    const pod = await node.runPod();
    const ids = await Promise.all(
      Array.from({ length: 3 }, () => node.runContainer(pod, "trap '' TERM; sleep 600 & wait")),
    );
    await node.removeContainer(ids[0]!);
    await rejectsWith(Code.NotFound, node.containerStatus(ids[0]!));
    await node.stopPod(pod.id);
    for (const id of ids.slice(1)) assert.equal((await node.containerStatus(id)).exitCode, 137);
    await node.call("removePodSandbox", { podSandboxId: pod.id });
    const { containers } = await node.call("listContainers", { filter: undefined });
    assert.deepEqual(
      containers.filter((c) => c.podSandboxId === pod.id),
      [],
    );

    const other = await node.runPod();
    await node.runContainer(other, "sleep 600");
    await node.call("removePodSandbox", { podSandboxId: other.id }); // without a stop before
    await rejectsWith(Code.NotFound, node.podStatus(other.id));
    assert.deepEqual(node.remains(), []);
  });

  test("a container gets its command, environment, directory and the image's defaults", async () => {
    const pod = await node.runPod({ hostname: "env-0" });
    const envs = [
      { key: "A", value: Buffer.from("x y=z") },
      { key: "B", value: Buffer.from("ü") },
    ];
    assert.equal(
      await node.outputOf(pod, {
        command: ["sh", "-c"],
        args: ["echo $A/$B/$HOSTNAME:$PWD/$1", "-", "a  b"],
        envs,
        workingDir: "/var/www",
      }),
      "x y=z/ü/env-0:/var/www/a b",
    );
    assert.equal(await node.outputOf(pod, { args: ["-c", "echo one"], command: ["/bin/sh"] }), "one");
    assert.equal(await node.outputOf(pod, { args: ["echo", "cmd is replaced"] }), "cmd is replaced");
    await node.removePod(pod.id);
  });

  test("stop signals are told, from the config and by default", async () => {
    const pod = await node.runPod();
    const asked = await node.createContainer(pod, { command: ["true"], stopSignal: Signal.SIGUSR1 });
    const byDefault = await node.createContainer(pod, "true");
    assert.equal((await node.containerStatus(asked)).stopSignal, Signal.SIGUSR1);
    assert.equal((await node.containerStatus(byDefault)).stopSignal, Signal.SIGTERM);
    await node.removePod(pod.id);
  });

  test("Version, Status, RuntimeConfig and ImageFsInfo answer", async () => {
    const version = await node.call("version", { version: "" });
    assert.deepEqual([version.version, version.runtimeName, version.runtimeApiVersion], ["0.1.0", "keelson", "v1"]);
    const { status, runtimeHandlers, info } = await node.call("status", { verbose: true });
    assert.deepEqual(
      status?.conditions.map((c) => [c.type, c.status]),
      [
        ["RuntimeReady", true],
        ["NetworkReady", true],
        ["KeelsonRecordsReadable", true],
      ],
    );
    const handlers = [
      "",
      "crun",
      "runc",
      ...(withoutRuntime("runsc") === false ? ["runsc"] : []),
      "shim-runc",
      "shim-crun",
    ];
    assert.deepEqual(
      runtimeHandlers.map((handler) => handler.name),
      handlers,
    );
    const runtimes = JSON.parse(info["runtimes"]!) as Record<
      string,
      { version: string; default: boolean; problem: string }
    >;
    assert.deepEqual(Object.keys(runtimes), handlers.slice(1));
    for (const { version, problem } of Object.values(runtimes))
      assert.ok(/^\d/.test(version) && problem === "", `${version} ${problem}`);
    assert.ok(runtimes["crun"]!.default && !runtimes["runc"]!.default);
    const config = JSON.parse(info["config"]!) as { stateDir: string };
    assert.equal(config.stateDir, node.state);
    assert.equal((await node.call("runtimeConfig", {})).linux?.cgroupDriver, 1);
    await node.call("updateRuntimeConfig", { runtimeConfig: { networkConfig: { podCidr: "10.99.0.0/16" } } });
  });

  test("ImageFsInfo counts what images and writable layers take", async () => {
    const filesystems = async () => {
      const { imageFilesystems, containerFilesystems } = await node.call("imageFsInfo", {});
      return { images: imageFilesystems[0]!, containers: containerFilesystems[0]! };
    };
    const { images, containers } = await filesystems();
    assert.ok(images.timestamp > 0n && containers.timestamp > 0n);
    assert.ok(images.usedBytes!.value > 1_000_000n && images.inodesUsed!.value > 10n);
    assert.ok(images.fsId!.mountpoint.startsWith(node.root) && containers.fsId!.mountpoint.startsWith(node.root));
    const pod = await node.runPod();
    const id = await node.runContainer(pod, "dd if=/dev/zero of=/file bs=1M count=3");
    await node.untilExited(id);
    const grown = await filesystems();
    assert.ok(grown.containers.usedBytes!.value - containers.usedBytes!.value >= 3n * 1024n * 1024n);
    assert.ok(grown.containers.inodesUsed!.value > containers.inodesUsed!.value);
    await node.removePod(pod.id);
    assert.equal((await filesystems()).containers.usedBytes!.value, containers.usedBytes!.value);
  });

  test("fifty calls for lists are answered while a container is being stopped", async () => {
    const pod: Pod = await node.runPod();
    const id = await node.runContainer(pod, "trap '' TERM; echo up; while :; do sleep 0.1; done");
    await node.untilLogged(id, "up");
    const stopping = node.stopContainer(id, 2);
    const startedMs = performance.now();
    await Promise.all(Array.from({ length: 50 }, () => node.call("listContainers", { filter: undefined })));
    assert.equal((await node.containerStatus(id)).state, ContainerState.CONTAINER_RUNNING);
    const beside = await node.runContainer(pod, "true"); // no lock is held for the grace period
    await node.untilExited(beside);
    assert.ok(performance.now() - startedMs < 1900);
    await stopping;
    assert.equal((await node.containerStatus(id)).exitCode, 137);
    await node.removePod(pod.id);
  });
});
