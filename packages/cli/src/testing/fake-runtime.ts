import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import type { TestContext } from "node:test";
import { setImmediate } from "node:timers/promises";
import { Code, StatusError } from "@keelson/base/status.ts";
import {
  Container,
  ContainerState,
  ContainerStatus,
  Image,
  PodSandbox,
  PodSandboxState,
  PodSandboxStatus,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Handlers } from "@keelson/cri/handlers.ts";
import { createCriServer } from "@keelson/cri/server.ts";
import type { Io, Output } from "../io.ts";
import { runProgram } from "../program.ts";

/** The time in every test: 2026-11-21T03:12:00Z. */
export const nowMs = Date.UTC(2026, 10, 21, 3, 12);

/** This many seconds before the tests' now, in nanoseconds since 1970. */
export function ago(seconds: number): bigint {
  return BigInt(nowMs - seconds * 1000) * 1_000_000n;
}

/** The result of one command line. */
export interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** A CRI runtime in memory, behind a real socket, with as much as keelctl needs. */
export interface FakeRuntime {
  readonly endpoint: string;
  /** A directory for the test's files. */
  readonly directory: string;
  /** The calls that were made, with their requests. */
  readonly calls: { name: string; request: unknown }[];
  pods: PodSandbox[];
  containers: ContainerStatus[];
  images: Image[];
  /** Runs keelctl against it. */
  readonly keelctl: (...args: string[]) => Promise<Outcome>;
  /** As keelctl, with parts of its world replaced. */
  readonly keelctlWith: (io: Partial<Io> & { isTerminal?: boolean }, ...args: string[]) => Promise<Outcome>;
}

/** Starts a fake runtime with `handlers` in front of its own, until the test is over. */
export async function startFakeRuntime(t: TestContext, handlers: Handlers = {}): Promise<FakeRuntime> {
  const directory = mkdtempSync(join(tmpdir(), "keelctl-"));
  const fake: FakeRuntime = {
    endpoint: `unix://${directory}/cri.sock`,
    directory,
    calls: [],
    pods: [],
    containers: [],
    images: [],
    keelctl: (...args) => fake.keelctlWith({}, ...args),
    keelctlWith: (io, ...args) =>
      runWith(
        { ...io, env: { CONTAINER_RUNTIME_ENDPOINT: fake.endpoint, CRI_CONFIG_FILE: "/dev/null", ...io.env } },
        args,
      ),
  };
  const server = createCriServer(
    { ...podHandlers(fake), ...containerHandlers(fake), ...imageHandlers(fake), ...handlers },
    { ended: ({ name, request }) => fake.calls.push({ name, request }) },
  );
  await server.listen(fake.endpoint);
  t.after(async () => {
    await server.close(100);
    rmSync(directory, { recursive: true });
  });
  return fake;
}

/** Runs a command line in memory. */
export async function runWith(io: Partial<Io> & { isTerminal?: boolean }, args: string[]): Promise<Outcome> {
  const written = { out: [] as Buffer[], err: [] as Buffer[] };
  const output = (to: Buffer[]): Output => ({
    isTerminal: io.isTerminal ?? false,
    columns: 80,
    rows: 24,
    onResize: () => ({ [Symbol.dispose]: () => {} }),
    write: (data) => {
      to.push(Buffer.from(data));
      return Promise.resolve();
    },
  });
  const code = await runProgram(args, {
    stdout: output(written.out),
    stderr: output(written.err),
    stdin: { isTerminal: false, open: () => Readable.from([]), setRaw: () => {} },
    env: {},
    readStdin: () => Promise.resolve(""),
    readSecret: () => Promise.resolve("secret"),
    now: () => nowMs,
    // No time passes, but others get their turn.
    sleep: async (_, signal) => {
      await setImmediate();
      signal.throwIfAborted();
    },
    signal: new AbortController().signal,
    ...io,
  });
  return { code, out: Buffer.concat(written.out).toString(), err: Buffer.concat(written.err).toString() };
}

function podHandlers(fake: FakeRuntime): Handlers {
  const find = (id: string) => fake.pods.find((pod) => pod.id.startsWith(id)) ?? notFound(id);
  return {
    version: () =>
      Promise.resolve({ version: "0.1.0", runtimeName: "fake", runtimeVersion: "1.2.3", runtimeApiVersion: "v1" }),
    listPodSandbox: ({ filter }) => {
      const isMeant = (pod: PodSandbox) =>
        pod.id.startsWith(filter?.id ?? "") &&
        (filter?.state === undefined || filter.state.state === pod.state) &&
        Object.entries(filter?.labelSelector ?? {}).every(([key, value]) => pod.labels[key] === value);
      return Promise.resolve({ items: fake.pods.filter(isMeant) });
    },
    runPodSandbox: ({ config, runtimeHandler }) => {
      const id = `pod${fake.pods.length + 1}`;
      fake.pods.push(
        PodSandbox.fromPartial({
          id,
          metadata: config!.metadata!,
          createdAt: ago(0),
          runtimeHandler,
          labels: config!.labels,
        }),
      );
      return Promise.resolve({ podSandboxId: id });
    },
    stopPodSandbox: async ({ podSandboxId }) => {
      find(podSandboxId).state = PodSandboxState.SANDBOX_NOTREADY;
      return {};
    },
    removePodSandbox: ({ podSandboxId }) => {
      fake.pods = fake.pods.filter((pod) => pod.id !== podSandboxId);
      return Promise.resolve({});
    },
    podSandboxStatus: async ({ podSandboxId }) => {
      const { id, metadata, state, createdAt, labels } = find(podSandboxId);
      const status = PodSandboxStatus.fromPartial({
        id,
        metadata: metadata!,
        state,
        createdAt,
        labels,
        network: { ip: "10.1.2.3" },
      });
      return { status, info: { info: '{"pid":7}' }, containersStatuses: [], timestamp: 0n };
    },
  };
}

function containerHandlers(fake: FakeRuntime): Handlers {
  const find = (id: string) => fake.containers.find((one) => one.id.startsWith(id)) ?? notFound(id);
  return {
    listContainers: ({ filter }) => {
      const containers = fake.containers.filter(
        (one) =>
          one.id.startsWith(filter?.id ?? "") && (filter?.state === undefined || filter.state.state === one.state),
      );
      return Promise.resolve({
        containers: containers.map((one) => Container.fromPartial({ ...one, podSandboxId: "pod1" })),
      });
    },
    createContainer: ({ config }) => {
      const id = `ctr${fake.containers.length + 1}`;
      fake.containers.push(
        ContainerStatus.fromPartial({ id, metadata: config!.metadata!, image: config!.image!, createdAt: ago(0) }),
      );
      return Promise.resolve({ containerId: id });
    },
    startContainer: async ({ containerId }) => {
      find(containerId).state = ContainerState.CONTAINER_RUNNING;
      return {};
    },
    stopContainer: async ({ containerId }) => {
      find(containerId).state = ContainerState.CONTAINER_EXITED;
      return {};
    },
    removeContainer: ({ containerId }) => {
      fake.containers = fake.containers.filter((one) => one.id !== containerId);
      return Promise.resolve({});
    },
    containerStatus: async ({ containerId, verbose }) => ({
      status: find(containerId),
      info: verbose ? { info: '{"pid":42}' } : {},
    }),
    updateContainerResources: async ({ containerId }) => {
      find(containerId);
      return {};
    },
    reopenContainerLog: () => Promise.resolve({}),
  };
}

function imageHandlers(fake: FakeRuntime): Handlers {
  const find = (name: string) =>
    fake.images.find(
      (one) =>
        one.id.replace("sha256:", "").startsWith(name) ||
        one.id === name ||
        [...one.repoTags, ...one.repoDigests].includes(name),
    );
  return {
    listImages: ({ filter }) =>
      Promise.resolve({
        images: fake.images.filter((one) => (filter?.image?.image ?? "") === "" || find(filter!.image!.image) === one),
      }),
    imageStatus: ({ image }) => Promise.resolve({ image: find(image!.image), info: {} }),
    pullImage: ({ image }) => {
      fake.images.push(Image.fromPartial({ id: `sha256:${"f".repeat(64)}`, repoTags: [image!.image] }));
      return Promise.resolve({ imageRef: `sha256:${"f".repeat(64)}` });
    },
    removeImage: ({ image }) => {
      fake.images = fake.images.filter((one) => one !== find(image!.image));
      return Promise.resolve({});
    },
  };
}

function notFound(id: string): never {
  throw new StatusError(Code.NotFound, `no ${id}`);
}
