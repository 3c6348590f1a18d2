// Clients that send what no kubelet sends: the daemon answers with the right code, leaves nothing, and goes on for others.
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import http2 from "node:http2";
import { connect, type Socket } from "node:net";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Client, credentials } from "@grpc/grpc-js";
import { Code, codeName, StatusError } from "@keelson/base/status.ts";
import { methodOf } from "@keelson/cri/grpc-methods.ts";
import { callNames, type RequestOf, type UnaryCallName } from "@keelson/cri/service.ts";
import { isErrno } from "@keelson/linux/errno.ts";
import { skip } from "@keelson/testkit/host-sandbox.ts";
import { waitFor } from "@keelson/testkit/wait.ts";
import { imageSpec, rejectsWith, TestNode } from "../testing/test-node.ts";

const mebibyte = 1024 * 1024;
/** Calls that take more than they should are told from those that wait for nothing by this. */
const promptMs = 5000;

describe("keelsond, with a client that", { skip }, () => {
  let node: TestNode;
  before(async () => void (node = await TestNode.start()));
  after(() => node[Symbol.asyncDispose]());

  const answers = () => node.call("version", { version: "v1" }, AbortSignal.timeout(promptMs));
  const residentBytes = () =>
    1024 * Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${node.pid}/status`, "utf8"))![1]);
  const openFiles = () => readdirSync(`/proc/${node.pid}/fd`).length;
  const listed = async () => {
    const { items } = await node.call("listPodSandbox", { filter: undefined });
    const { containers } = await node.call("listContainers", { filter: undefined });
    return [...items, ...containers].map((item) => item.id).sort();
  };

  /** The daemon answers others meanwhile, and has its memory and files back afterwards. */
  async function withstands(attack: () => Promise<unknown>, boundMebibytes = 300): Promise<void> {
    await answers();
    const files = openFiles();
    const bytes = residentBytes();
    const done = attack();
    for (let i = 0; i < 5; i++) await answers();
    await done;
    await answers();
    await waitFor(() => openFiles() <= files + 2, { message: () => `${openFiles()} files are open, ${files} were` });
    // Calls make the collector run; what it keeps for later is not what a client made it hold.
    await waitFor(async () => (await answers(), residentBytes() < bytes + boundMebibytes * mebibyte), {
      timeoutMs: 30_000,
      message: () => `${residentBytes()} bytes resident, ${bytes} were`,
    });
  }

  test("sends 10 MiB of labels or annotations is told the bound, and the same pod without them runs", async () => {
    const many = { huge: "x".repeat(10 * mebibyte) };
    const config = node.podConfig();
    await withstands(async () => {
      for (const overrides of [{ labels: many }, { annotations: many }]) {
        await rejectsWith(
          Code.InvalidArgument,
          node.call("runPodSandbox", { config: { ...config, ...overrides }, runtimeHandler: "" }),
          /^(labels|annotations) has \d+ bytes; .* 1048576/,
        );
      }
    });
    const { podSandboxId } = await node.call("runPodSandbox", { config, runtimeHandler: "" });
    const pod = { id: podSandboxId, config };
    const container = node.containerConfig("true");
    for (const overrides of [{ labels: many }, { annotations: many }]) {
      const request = { podSandboxId, sandboxConfig: config, config: { ...container, ...overrides } };
      await rejectsWith(
        Code.InvalidArgument,
        node.call("createContainer", request),
        /^(labels|annotations) has \d+ bytes/,
      );
    }
    // What is within the bound is kept and told, byte for byte.
    const full = { text: `${"ü".repeat(400_000)}\n\0` };
    const id = await node.createContainer(pod, { ...container, labels: full });
    assert.deepEqual((await node.containerStatus(id)).labels, full);
    await node.removePod(pod.id);
  });

  test("sends more than 16 MiB in one message is told so, and the connection goes on", async () => {
    const config = { ...node.podConfig(), annotations: { huge: "x".repeat(17 * mebibyte) } };
    await withstands(() =>
      rejectsWith(
        Code.ResourceExhausted,
        node.call("runPodSandbox", { config, runtimeHandler: "" }),
        /larger than max|16777216/,
      ),
    );
    assert.deepEqual(await listed(), []);
  });

  test("sends ids and names that lead astray changes nothing", async () => {
    const pod = await node.runPod();
    const containerId = await node.runContainer(pod, "sleep 600");
    const was = await listed();
    for (const id of [
      "..",
      ".",
      "/",
      "../../etc",
      "a/b",
      "a\nb",
      "a\0b",
      "*",
      `${pod.id}/../${pod.id}`,
      "x".repeat(100_000),
      "__proto__",
      "constructor",
    ]) {
      const stops: Promise<unknown>[] = [
        node.call("stopPodSandbox", { podSandboxId: id }),
        node.call("removePodSandbox", { podSandboxId: id }),
        node.call("stopContainer", { containerId: id, timeout: 0n }),
        node.call("removeContainer", { containerId: id }),
      ];
      // What is not there is stopped and removed already.
      await Promise.all(stops);
      const needed: Promise<unknown>[] = [
        node.call("podSandboxStatus", { podSandboxId: id, verbose: true }),
        node.call("containerStatus", { containerId: id, verbose: true }),
        node.call("startContainer", { containerId: id }),
        node.call("execSync", { containerId: id, cmd: ["true"], timeout: 0n }),
        node.call("reopenContainerLog", { containerId: id }),
        node.call("createContainer", {
          podSandboxId: id,
          config: node.containerConfig("true"),
          sandboxConfig: pod.config,
        }),
      ];
      for (const call of needed) await rejectsWith(Code.NotFound, call);
      assert.deepEqual(
        (await node.call("listPodSandbox", { filter: { id, state: undefined, labelSelector: {} } })).items,
        [],
      );
      await assert.rejects(node.createContainer(pod, { image: { image: id } }), isNoImage);
    }
    assert.deepEqual(await listed(), was);
    assert.equal(await node.output(containerId, "echo alive"), "alive\n");
    await node.removePod(pod.id);
  });

  test("pulls by a name that leads astray is told that it is none", async () => {
    for (const image of [
      "../../etc/passwd",
      "a/../b",
      "/abs",
      "a\nb",
      "a\0b",
      `${node.registry.host}/../x`,
      `${node.registry.host}/a/../../b:v1`,
      `${node.registry.host}/x:../y`,
      `${node.registry.host}/x@sha256:../../y`,
      "http://127.0.0.1/x",
      "file:///etc/passwd",
      "x".repeat(100_000),
    ]) {
      await rejectsWith(
        Code.InvalidArgument,
        node.call("pullImage", { image: imageSpec(image), auth: undefined, sandboxConfig: undefined }),
        /image reference/,
      );
      await node
        .call("removeImage", { image: imageSpec(image) })
        .catch((error: unknown) => assert.ok(isNoImage(error), String(error)));
      assert.equal(
        (
          await node
            .call("imageStatus", { image: imageSpec(image), verbose: false })
            .catch(() => ({ image: undefined }))
        ).image,
        undefined,
      );
    }
    assert.equal((await node.call("listImages", { filter: undefined })).images.length, 1);
  });

  test("names a working directory or a mount target through the image's links stays in the container", async () => {
    const pod = await node.runPod();
    const links = "ln -s /proc/1/root /tmp/up; ln -s ../../../../../.. /tmp/dots; mkdir -p /tmp/d";
    const outside = `${node.dir}/outside`;
    // The runtime resolves both inside of the container's root.
    const id = await node.runContainer(pod, {
      command: ["sh", "-c", `${links}; pwd; sleep 600`],
      workingDir: "/../../../../tmp/../../x",
      mounts: [{ containerPath: `/../../..${outside}`, hostPath: "/usr" }],
    });
    assert.equal((await node.output(id, "pwd")).trim(), "/x");
    assert.match(await node.output(id, `ls ${outside}`), /bin/);
    assert.equal(existsSync(outside), false);
    await node.removePod(pod.id);
  });

  test("sends numbers that no enum and no limit has is told which, and leaves nothing", async () => {
    const pod = await node.runPod();
    const was = await listed();
    const enumOf = (value: number) => value as never;
    const security = (securityContext: object) => ({ linux: { securityContext } });
    const pods: [object, RegExp][] = [
      [security({ namespaceOptions: { pid: enumOf(77) } }), /pid/],
      [security({ namespaceOptions: { network: enumOf(-1) } }), /network/],
      [security({ seccomp: { profileType: enumOf(9), localhostRef: "" } }), /seccomp/],
      [security({ supplementalGroupsPolicy: enumOf(5) }), /supplemental_groups_policy/],
      [{ portMappings: [{ protocol: enumOf(42), containerPort: 80, hostPort: 8080 }] }, /port_mappings\[0\]/],
      [{ portMappings: [{ containerPort: -80, hostPort: 8080 }] }, /port_mappings\[0\]/],
      [{ portMappings: [{ containerPort: 80, hostPort: 65536 }] }, /port_mappings\[0\]/],
    ];
    for (const [overrides, words] of pods) await rejectsWith(Code.InvalidArgument, node.runPod(overrides), words);
    const resources = (resources: object) => ({ linux: { resources } });
    const containers: [object, RegExp][] = [
      [{ mounts: [{ containerPath: "/x", hostPath: "/tmp", propagation: enumOf(9) }] }, /mounts\[0\]\.propagation/],
      [{ stopSignal: enumOf(999) }, /stop_signal/],
      [security({ apparmor: { profileType: enumOf(-3), localhostRef: "" } }), /apparmor/],
      [security({ runAsUser: { value: -1n } }), /run_as_user/],
      [security({ supplementalGroups: [-1n] }), /supplemental_groups\[0\]/],
      [resources({ memoryLimitInBytes: -5n }), /memory_limit_in_bytes/],
      [resources({ cpuPeriod: -1n }), /cpu_period/],
      [resources({ cpuShares: -1n }), /cpu_shares/],
      [resources({ oomScoreAdj: 5000n }), /oom_score_adj/],
      [resources({ hugepageLimits: [{ pageSize: "../x", limit: 1n }] }), /hugepage_limits\[0\]/],
      [resources({ unified: { "../../memory.max": "1" } }), /unified/],
      [resources({ cpusetCpus: "0\n1" }), /cpuset_cpus/],
    ];
    for (const [overrides, words] of containers) {
      const error = await node.createContainer(pod, { command: ["true"], ...overrides }).then(
        () => assert.fail(String(words)),
        (e: unknown) => e as StatusError,
      );
      assert.ok(
        [Code.InvalidArgument, Code.FailedPrecondition].includes(error.code as 3),
        `${codeName(error.code)}: ${error.message}`,
      );
      assert.match(error.message, words);
    }
    assert.deepEqual(
      (await node.call("listPodSandbox", { filter: { id: "", state: { state: enumOf(9) }, labelSelector: {} } })).items,
      [],
    );
    assert.deepEqual(await listed(), was);
    await node.removePod(pod.id);
  });

  test("leaves out every part of a request gets an answer of its own, from all calls", async () => {
    const was = await listed();
    const codes = await rawCalls(Buffer.alloc(0));
    for (const [name, code] of Object.entries(codes)) {
      const expected: Code[] = [Code.Ok, Code.InvalidArgument, Code.NotFound, Code.Unimplemented];
      assert.ok(expected.includes(code as Code), `${name} answers an empty request with ${codeName(code)}`);
    }
    assert.equal(codes["runPodSandbox"], Code.InvalidArgument);
    assert.deepEqual(await listed(), was);
  });

  test("sends bytes that are no message is refused, in all calls", async () => {
    for (const bytes of [
      Buffer.alloc(64, 0xff),
      Buffer.from("0a8080808010", "hex"),
      Buffer.from("no protobuf at all"),
    ]) {
      await withstands(() => rawCalls(bytes));
    }
    assert.deepEqual(await listed(), []);
  });

  /** The code of each call that is made with these bytes as its request. */
  async function rawCalls(bytes: Buffer): Promise<Record<string, number>> {
    const client = new Client(node.endpoint, credentials.createInsecure());
    const call = (name: UnaryCallName) =>
      new Promise<[string, number]>((resolve) => {
        const { path } = methodOf(name);
        client.makeUnaryRequest(
          path,
          () => bytes,
          (answer) => answer,
          {},
          { deadline: Date.now() + promptMs },
          (error) => resolve([name, error === null ? Code.Ok : error.code]),
        );
      });
    try {
      return Object.fromEntries(
        await Promise.all(
          callNames.filter((name) => !methodOf(name).responseStream).map((name) => call(name as UnaryCallName)),
        ),
      );
    } finally {
      client.close();
    }
  }

  test("cancels at every stage finds the one pod and container when it comes again", async () => {
    const gone = (
      name:
        | "runPodSandbox"
        | "createContainer"
        | "startContainer"
        | "stopContainer"
        | "stopPodSandbox"
        | "removePodSandbox",
      request: object,
      ms: number,
    ) =>
      node
        .call(
          name,
          request as RequestOf<"startContainer">,
          AbortSignal.any([AbortSignal.timeout(60_000), abortAfter(ms)]),
        )
        .then(
          () => true,
          (error: unknown) => {
            assert.equal((error as StatusError).code, Code.Cancelled, String(error));
            return false;
          },
        );
    let cancelled = 0;
    for (const ms of [0, 1, 3, 8, 14, 20, 30, 45, 60, 80]) {
      const config = node.podConfig();
      const again = async (name: Parameters<typeof gone>[0], request: object) => {
        if (!(await gone(name, request, ms))) cancelled++;
        return node.call(name, request as never);
      };
      const { podSandboxId } = (await again("runPodSandbox", { config, runtimeHandler: "" })) as {
        podSandboxId: string;
      };
      const container = node.containerConfig("sleep 600");
      const { containerId } = (await again("createContainer", {
        podSandboxId,
        config: container,
        sandboxConfig: config,
      })) as { containerId: string };
      if (!(await gone("startContainer", { containerId }, ms))) {
        cancelled++;
        // The one that was cut off may have started it, or does so now.
        await node
          .startContainer(containerId)
          .catch((error: StatusError) => assert.equal(error.code, Code.FailedPrecondition, error.message));
      }
      assert.deepEqual(await listed(), [podSandboxId, containerId].sort());
      assert.equal(await node.output(containerId, "echo runs"), "runs\n");
      await assert.rejects(node.call("execSync", { containerId, cmd: ["sleep", "600"], timeout: 0n }, abortAfter(ms)), {
        code: Code.Cancelled,
      });
      await again("stopContainer", { containerId, timeout: 0n });
      await again("stopPodSandbox", { podSandboxId });
      await again("removePodSandbox", { podSandboxId });
      assert.deepEqual(await listed(), []);
      assert.deepEqual(node.remains(), []);
    }
    assert.ok(cancelled > 7, `only ${cancelled} calls were cut off`);
    assert.deepEqual(node.leftBehind(), []);
  });

  test("makes a thousand connections, some of them half", async () => {
    await withstands(async () => {
      const sockets: Socket[] = [];
      // The kernel keeps 511 at most that were not accepted yet.
      for (let i = 0; i < 10; i++) {
        sockets.push(...(await Promise.all(Array.from({ length: 100 }, () => open(node.socketPath)))));
        await answers();
      }
      sockets.forEach((socket, i) => void (i % 2 === 0 && socket.write(preface.subarray(0, i % preface.length))));
      for (let i = 0; i < 5; i++) await answers();
      for (const socket of sockets) socket.destroy();
    });
  });

  test("speaks garbage on the socket", async () => {
    const frame = (type: number, flags: number, stream: number, payload: Buffer) => {
      const head = Buffer.alloc(9);
      head.writeUIntBE(payload.length, 0, 3);
      head.writeUInt8(type, 3);
      head.writeUInt8(flags, 4);
      head.writeUInt32BE(stream, 5);
      return Buffer.concat([head, payload]);
    };
    const settings = frame(4, 0, 0, Buffer.alloc(0));
    const talks: Buffer[] = [
      Buffer.from("GET / HTTP/1.1\r\nhost: x\r\n\r\n"),
      Buffer.alloc(100_000, 0xff),
      Buffer.alloc(10),
      preface,
      Buffer.concat([preface, Buffer.alloc(100_000, 0xff)]),
      Buffer.concat([preface, settings, frame(1, 0x4, 1, Buffer.alloc(5000, 0x82))]),
      Buffer.concat([
        preface,
        settings,
        frame(1, 0, 1, Buffer.alloc(16)),
        ...Array.from({ length: 2000 }, () => frame(9, 0, 1, Buffer.alloc(16))),
      ]),
      Buffer.concat([preface, settings, ...Array.from({ length: 20_000 }, () => frame(6, 0, 0, Buffer.alloc(8)))]),
      Buffer.concat([preface, settings, ...Array.from({ length: 20_000 }, () => frame(4, 0, 0, Buffer.alloc(0)))]),
    ];
    for (const talk of talks) {
      await withstands(async () => {
        const sockets = await Promise.all(Array.from({ length: 10 }, () => open(node.socketPath)));
        for (const socket of sockets) socket.write(talk);
        await answers();
        for (const socket of sockets) socket.destroy();
      });
    }
  });

  test("opens and resets streams by the thousand", async () => {
    await withstands(async () => {
      const session = http2.connect("http://localhost", { createConnection: () => connect(node.socketPath) });
      session.on("error", () => {});
      for (let i = 0; i < 5000 && !session.destroyed; i++) {
        const stream = session.request({
          ":method": "POST",
          ":path": "/runtime.v1.RuntimeService/Version",
          "content-type": "application/grpc",
          te: "trailers",
        });
        stream.on("error", () => {});
        stream.close(http2.constants.NGHTTP2_CANCEL);
        if (i % 500 === 0) await answers();
      }
      session.destroy();
    });
  });

  test("reads none of its answers", async () => {
    const pod = await node.runPod({ annotations: { large: "x".repeat(900_000) } });
    const listWithoutReading = async () => {
      const session = http2.connect("http://localhost", {
        createConnection: () => connect(node.socketPath),
        settings: { initialWindowSize: 0 },
      });
      session.on("error", () => {});
      for (let i = 0; i < 100; i++) {
        const stream = session.request({
          ":method": "POST",
          ":path": "/runtime.v1.RuntimeService/ListPodSandbox",
          "content-type": "application/grpc",
          te: "trailers",
        });
        stream.on("error", () => {});
        stream.end(Buffer.alloc(5));
      }
      for (let i = 0; i < 20; i++) await answers();
      session.destroy();
    };
    // Kept, eight times 90 MB would be far over the bound.
    await withstands(async () => {
      for (let round = 0; round < 8; round++) await listWithoutReading();
    }, 500);
    await node.removePod(pod.id);
  });

  test("goes away in the middle leaves no connection of its own", () => {
    const sockets = readdirSync(`/proc/${node.pid}/fd`).filter((fd) => {
      try {
        return readlinkSync(`/proc/${node.pid}/fd/${fd}`).startsWith("socket:");
      } catch {
        return false;
      }
    });
    assert.ok(sockets.length < 12, `${sockets.length} sockets`);
  });
});

/** RFC 9113 section 3.4. */
const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

/** Tries again while the daemon has not accepted those before: connect(2), EAGAIN. */
async function open(path: string): Promise<Socket> {
  for (;;) {
    const socket = connect(path);
    socket.resume();
    const error = await new Promise<unknown>((resolve) => socket.once("connect", resolve).once("error", resolve));
    if (error === undefined) return socket.on("error", () => {});
    if (!isErrno(error, "EAGAIN")) throw error;
    await sleep(10);
  }
}

function abortAfter(ms: number): AbortSignal {
  const abort = new AbortController();
  setTimeout(() => abort.abort(new DOMException("the client went away", "AbortError")), ms);
  return abort.signal;
}

/** A reference that cannot be is as good as one that is not here. */
function isNoImage(error: unknown): boolean {
  return error instanceof StatusError && (error.code === Code.NotFound || error.code === Code.InvalidArgument);
}
