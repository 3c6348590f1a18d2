import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import {
  AttachRequest,
  ContainerState,
  ContainerStatusRequest,
  ExecRequest,
  ExecSyncRequest,
  ListContainersRequest,
  type PodSandboxConfig,
  PortForwardRequest,
  RemovePodSandboxRequest,
  StartContainerRequest,
  StopPodSandboxRequest,
  VersionRequest,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import { connectSpdy } from "@keelson/spdy/connect.ts";
import type { SpdySession } from "@keelson/spdy/session.ts";
import { waitFor } from "@keelson/testkit/wait.ts";
import {
  connectExec,
  connectForward,
  type ExecConnection,
  type ExecProtocol,
  type ExecStream,
} from "./exec-connection.ts";
import { RawClient } from "./raw-client.ts";
import { create, podConfig, runPod } from "./round.ts";
import { call, type Side } from "./side.ts";

const blockBytes = 64 * 1024;
/** How much goes through one exec or one forwarded connection. */
const bulkMiB = 128;
const bulkBytes = bulkMiB * 2 ** 20;
/** Clients send about 32 KiB at a time. */
const stdinBytes = 32 * 1024;
/** How much goes through attach in one burst, and how many bursts. */
const burstBytes = 8 * 2 ** 20;
const bursts = 8;
const execRounds = 30;
const forwardRounds = 100;
const floods = 10;
const floodMs = 5_000;
const betweenCallsMs = 5;
const port = 8080;
/** How long one transfer, or all connections of one turn, may take. */
const transferTimeoutMs = 60_000;

/** How fast streams were on one side in one turn. What a side does not support is not in the map. */
export interface StreamSample {
  /** MB (10^6 bytes) per second, by stream and transport. */
  readonly megabytesPerSecond: ReadonlyMap<string, number>;
  /** How long exec takes, from the call to the status of `true`, in ms. */
  readonly execMs: readonly number[];
  readonly forwardsPerSecond: number;
  /** How long gRPC calls take before and during the flood, in ms. */
  readonly calm: ReadonlyMap<string, readonly number[]>;
  readonly flooded: ReadonlyMap<string, readonly number[]>;
  /** The throughput of the whole flood. */
  readonly floodMegabytesPerSecond: number;
}

/** Brings up a pod with a web server, measures, and takes it down. */
export async function measureStreams(
  side: Side,
  image: string,
  progress: (text: string) => void,
): Promise<StreamSample> {
  const config = podConfig(side, "streams");
  const { podSandboxId } = await runPod(side, config);
  const serve = `mkdir /srv; echo ok >/srv/small; dd if=/dev/zero of=/srv/big bs=1M count=${bulkMiB}; exec httpd -f -p ${port} -h /srv`;
  const { containerId } = await create(side, {
    podSandboxId,
    sandboxConfig: config,
    image,
    command: ["sh", "-c", serve],
  });
  await call(side, "startContainer", StartContainerRequest.fromPartial({ containerId }));
  try {
    await waitFor(
      async () =>
        (
          await call(
            side,
            "execSync",
            ExecSyncRequest.fromPartial({
              containerId,
              cmd: ["wget", "-q", "-O", "/dev/null", `http://127.0.0.1:${port}/small`],
              timeout: 10n,
            }),
          )
        ).exitCode === 0,
      { timeoutMs: 30_000 },
    );
    const sample = await measureIn(side, podSandboxId, containerId, progress);
    progress(`attach on ${side.name}`);
    const attachments = [
      ["attach stdout, SPDY", await attachStdoutSpeed(side, podSandboxId, config, image)],
      ["attach stdin, SPDY", await attachStdinSpeed(side, podSandboxId, config, image)],
    ] as const;
    return { ...sample, megabytesPerSecond: new Map([...sample.megabytesPerSecond, ...attachments]) };
  } finally {
    await call(side, "stopPodSandbox", StopPodSandboxRequest.fromPartial({ podSandboxId }));
    await call(side, "removePodSandbox", RemovePodSandboxRequest.fromPartial({ podSandboxId }));
  }
}

async function measureIn(
  side: Side,
  podSandboxId: string,
  containerId: string,
  progress: (text: string) => void,
): Promise<StreamSample> {
  const speeds = new Map<string, number>();
  const webSocket = await newestWebSocket(side, containerId);
  for (const [transport, protocol] of [
    ["SPDY", "spdy"],
    ["WebSocket", webSocket],
  ] as const) {
    if (protocol === undefined) continue;
    progress(`exec by ${transport} on ${side.name}`);
    speeds.set(`exec stdout, ${transport}`, await stdoutSpeed(side, containerId, protocol));
    speeds.set(`exec stdin, ${transport}`, await stdinSpeed(side, containerId, protocol));
  }
  progress(`latency of exec on ${side.name}`);
  const execMs: number[] = [];
  for (let round = 0; round < execRounds; round++) execMs.push(await execLatency(side, containerId));
  progress(`port-forward on ${side.name}`);
  speeds.set("port-forward, SPDY", await forwardSpeed(side, podSandboxId));
  using session = await forwardSession(side, podSandboxId);
  const forwardsPerSecond = await forwardRate(session);
  session.destroy();
  progress(`flood of ${floods} execs on ${side.name}`);
  return { megabytesPerSecond: speeds, execMs, forwardsPerSecond, ...(await underFlood(side, containerId)) };
}

async function execUrl(side: Side, containerId: string, cmd: string[], stream: ExecStream): Promise<string> {
  return (
    await call(
      side,
      "exec",
      ExecRequest.fromPartial({ containerId, cmd, stdin: stream === "stdin", stdout: stream === "stdout" }),
    )
  ).url;
}

/** The newest subprotocol that the side supports, if any. */
async function newestWebSocket(side: Side, containerId: string): Promise<ExecProtocol | undefined> {
  for (const protocol of ["v5.channel.k8s.io", "v4.channel.k8s.io"] as const) {
    try {
      const connection = await connectExec(protocol, await execUrl(side, containerId, ["true"], "stdout"), "stdout");
      await within(connection.ended, `${side.name}: exec by ${protocol}`);
      return protocol;
    } catch {
      // Refused: it does not know this one.
    }
  }
  return undefined;
}

async function stdoutSpeed(side: Side, containerId: string, protocol: ExecProtocol): Promise<number> {
  const url = await execUrl(
    side,
    containerId,
    ["dd", "if=/dev/zero", `bs=${blockBytes}`, `count=${bulkBytes / blockBytes}`],
    "stdout",
  );
  const startedAtMs = performance.now();
  const connection = await connectExec(protocol, url, "stdout");
  const tail = await within(connection.ended, `${side.name}: stdout of exec by ${protocol}`, () => connection.close());
  const ms = performance.now() - startedAtMs;
  if (connection.received() < bulkBytes || !tail.includes("Success"))
    throw new Error(
      `${side.name}: ${connection.received()} of ${bulkBytes} bytes of stdout came by ${protocol}, and then: ${tail.slice(-200)}`,
    );
  return bulkBytes / 1000 / ms;
}

/** The command ends by itself when it has everything, because not every protocol can end stdin. */
async function stdinSpeed(side: Side, containerId: string, protocol: ExecProtocol): Promise<number> {
  const blocks = bulkBytes / blockBytes;
  // dd would take an end of input that came too early for a success.
  const script = `dd of=/dev/null iflag=fullblock bs=${blockBytes} count=${blocks} 2>/tmp/records; grep -q '^${blocks}+0 records in' /tmp/records`;
  const url = await execUrl(side, containerId, ["sh", "-c", script], "stdin");
  const startedAtMs = performance.now();
  const connection = await connectExec(protocol, url, "stdin");
  await send(connection, `${side.name}: stdin of exec by ${protocol}`);
  const tail = await within(connection.ended, `${side.name}: stdin of exec by ${protocol}`, () => connection.close());
  const ms = performance.now() - startedAtMs;
  if (!tail.includes("Success")) throw new Error(`${side.name}: stdin by ${protocol} ended with ${tail.slice(-200)}`);
  return bulkBytes / 1000 / ms;
}

/**
 * Measures from the first byte to the last of each burst, which goes into the container's log as well. keelsond drops a
 * client that is more than a burst behind, which may happen on a busy machine.
 */
async function attachStdoutSpeed(
  side: Side,
  podSandboxId: string,
  config: PodSandboxConfig,
  image: string,
): Promise<number> {
  const burst = `until [ -e /tmp/go$i ]; do sleep 0.02; done; dd if=/dev/zero bs=${blockBytes} count=${burstBytes / blockBytes}`;
  const script = `for i in $(seq ${bursts}); do ${burst}; done; exec sleep 600`;
  const { containerId } = await create(side, {
    podSandboxId,
    sandboxConfig: config,
    image,
    command: ["sh", "-c", script],
    name: "attach-stdout",
  });
  await call(side, "startContainer", StartContainerRequest.fromPartial({ containerId }));
  const { url } = await call(side, "attach", AttachRequest.fromPartial({ containerId, stdout: true }));
  const connection = await connectExec("spdy", url, "stdout");
  // There is no sign that it has begun, and what is written before that does not arrive.
  await sleep(500);
  let ms = 0;
  for (let burst = 1; burst <= bursts; burst++) {
    const before = connection.received();
    await call(
      side,
      "execSync",
      ExecSyncRequest.fromPartial({ containerId, cmd: ["touch", `/tmp/go${burst}`], timeout: 10n }),
    );
    while (connection.received() === before) await sleep(1);
    const startedAtMs = performance.now();
    while (connection.received() < before + burstBytes) {
      await sleep(1);
      if (performance.now() - startedAtMs > transferTimeoutMs)
        throw new Error(`${side.name}: attach: ${connection.received() - before} of ${burstBytes} bytes came`);
    }
    ms += performance.now() - startedAtMs;
  }
  connection.close();
  return (bursts * burstBytes) / 1000 / ms;
}

/** Measures until the container's end, which comes when it has everything. */
async function attachStdinSpeed(
  side: Side,
  podSandboxId: string,
  config: PodSandboxConfig,
  image: string,
): Promise<number> {
  const blocks = bulkBytes / blockBytes;
  const script = `dd of=/dev/null iflag=fullblock bs=${blockBytes} count=${blocks} 2>/tmp/records; exec grep -q '^${blocks}+0 records in' /tmp/records`;
  const { containerId } = await create(side, {
    podSandboxId,
    sandboxConfig: config,
    image,
    command: ["sh", "-c", script],
    name: "attach-stdin",
    stdin: true,
  });
  await call(side, "startContainer", StartContainerRequest.fromPartial({ containerId }));
  const { url } = await call(side, "attach", AttachRequest.fromPartial({ containerId, stdin: true }));
  const startedAtMs = performance.now();
  const connection = await connectExec("spdy", url, "stdin");
  await send(connection, `${side.name}: stdin of attach`);
  const status = async () =>
    (await call(side, "containerStatus", ContainerStatusRequest.fromPartial({ containerId }))).status;
  // Not the connection's end: containerd keeps it open for more input.
  await waitFor(async () => (await status())?.state === ContainerState.CONTAINER_EXITED, {
    timeoutMs: transferTimeoutMs,
  });
  const ms = performance.now() - startedAtMs;
  connection.close();
  const exitCode = (await status())?.exitCode;
  if (exitCode !== 0)
    throw new Error(`${side.name}: not all of stdin came by attach: the container ended with ${exitCode}`);
  return bulkBytes / 1000 / ms;
}

/** Sends everything, as fast as it is taken. */
async function send(connection: ExecConnection, what: string): Promise<void> {
  const block = Buffer.alloc(stdinBytes);
  for (let sent = 0; sent < bulkBytes; sent += stdinBytes)
    await within(connection.write(block), what, () => connection.close());
}

/** How long exec takes, from the call to the status of `true`, in ms. */
export async function execLatency(side: Side, containerId: string): Promise<number> {
  const startedAtMs = performance.now();
  const connection = await connectExec("spdy", await execUrl(side, containerId, ["true"], "stdout"), "stdout");
  const tail = await within(connection.ended, `${side.name}: exec of true`, () => connection.close());
  if (!tail.includes("Success")) throw new Error(`${side.name}: exec of true ended with ${JSON.stringify(tail)}`);
  return performance.now() - startedAtMs;
}

async function forwardSession(side: Side, podSandboxId: string): Promise<SpdySession> {
  const { url } = await call(side, "portForward", PortForwardRequest.fromPartial({ podSandboxId, port: [port] }));
  return (await connectSpdy(url, { protocols: ["portforward.k8s.io"] }, side.signal)).session;
}

let requests = 0;

/** One connection through the session. Returns the length of the answer in bytes. */
async function get(session: SpdySession, path: string): Promise<number> {
  const headers = { port: String(port), requestid: String(requests++) };
  const errors = await session.openAccepted({ ...headers, streamtype: "error" });
  errors.end();
  let problem = "";
  errors.on("data", (bytes: Buffer) => (problem += bytes.toString()));
  const data = await session.openAccepted({ ...headers, streamtype: "data" });
  let length = 0;
  data.on("data", (bytes: Buffer) => (length += bytes.length));
  data.end(`GET ${path} HTTP/1.0\r\n\r\n`);
  await once(data, "end");
  errors.destroy();
  if (problem !== "") throw new Error(`port-forward: ${problem}`);
  return length;
}

async function forwardSpeed(side: Side, podSandboxId: string): Promise<number> {
  const { url } = await call(side, "portForward", PortForwardRequest.fromPartial({ podSandboxId, port: [port] }));
  const connection = await connectForward(url, port);
  try {
    const startedAtMs = performance.now();
    await connection.write(Buffer.from("GET /big HTTP/1.0\r\n\r\n"));
    while (connection.received() < bulkBytes) {
      await sleep(2);
      if (performance.now() - startedAtMs > transferTimeoutMs)
        throw new Error(`${side.name}: port-forward: ${connection.received()} of ${bulkBytes} bytes came`);
    }
    return bulkBytes / 1000 / (performance.now() - startedAtMs);
  } finally {
    connection.close();
  }
}

async function forwardRate(session: SpdySession): Promise<number> {
  const startedAtMs = performance.now();
  let left = forwardRounds;
  const client = async () => {
    while (left-- > 0) await within(get(session, "/small"), "port-forward", () => session.destroy());
  };
  await Promise.all([client(), client(), client(), client()]);
  return forwardRounds / ((performance.now() - startedAtMs) / 1000);
}

/** The latency of gRPC calls, then the same while commands flood their clients, which are on another thread. */
async function underFlood(
  side: Side,
  containerId: string,
): Promise<Pick<StreamSample, "calm" | "flooded" | "floodMegabytesPerSecond">> {
  using raw = new RawClient(side.endpoint);
  await measureCalls(raw, 1_000);
  const calm = await measureCalls(raw, floodMs);
  const urls = await Promise.all(
    Array.from({ length: floods }, () =>
      execUrl(side, containerId, ["dd", "if=/dev/zero", `bs=${blockBytes}`], "stdout"),
    ),
  );
  const worker = new Worker(new URL("./flood-worker.ts", import.meta.url), { workerData: { urls } });
  try {
    await within(once(worker, "message"), `${side.name}: begin of ${floods} execs`);
    const startedAtMs = performance.now();
    const flooded = await measureCalls(raw, floodMs);
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- that is for windows of a browser
    worker.postMessage("end");
    const [bytes] = (await within(once(worker, "message"), `${side.name}: end of ${floods} execs`)) as [number];
    return { calm, flooded, floodMegabytesPerSecond: bytes / 1000 / (performance.now() - startedAtMs) };
  } finally {
    await worker.terminate();
  }
}

async function measureCalls(raw: RawClient, forMs: number): Promise<Map<string, number[]>> {
  const times = new Map<string, number[]>([
    ["Version", []],
    ["ListContainers", []],
  ]);
  const end = performance.now() + forMs;
  while (performance.now() < end) {
    for (const [name, ms] of times) {
      const startedAtMs = performance.now();
      if (name === "Version") await raw.answerBytes("version", VersionRequest.fromPartial({}), transferTimeoutMs);
      else await raw.answerBytes("listContainers", ListContainersRequest.fromPartial({}), transferTimeoutMs);
      ms.push(performance.now() - startedAtMs);
      await sleep(betweenCallsMs);
    }
  }
  return times;
}

/** Throws an error that names what takes too long. */
async function within<T>(work: Promise<T>, what: string, giveUp: () => void = () => undefined): Promise<T> {
  const late = Symbol("late");
  const { promise, resolve } = Promise.withResolvers<typeof late>();
  const timer = setTimeout(() => resolve(late), transferTimeoutMs);
  try {
    const result = await Promise.race([work, promise]);
    if (result !== late) return result;
    giveUp();
    throw new Error(`${what} took longer than ${transferTimeoutMs / 1000} s`);
  } finally {
    clearTimeout(timer);
  }
}
