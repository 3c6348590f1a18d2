// The streaming server with its thread, and a backend of real processes and sockets: what crosses between the threads,
// and what happens when either ends.
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { test, type TestContext } from "node:test";
import type { Worker } from "node:worker_threads";
import type { Log } from "@keelson/base/log.ts";
import { Code, codeOf, messageOf, StatusError } from "@keelson/base/status.ts";
import { connectLoopback } from "@keelson/linux/connect.ts";
import { type Launched, runOnPipes } from "@keelson/runtimes/exec-streams.ts";
import { connectSpdy } from "@keelson/spdy/connect.ts";
import { waitFor } from "@keelson/testkit/wait.ts";
import { StreamingServer } from "./server.ts";
import { connectRemote, parseStatus, transports } from "./testing/stream-clients.ts";

const choice = { stdin: true, stdout: true, stderr: true, tty: false };
const execOf = (script: string) => ({ is: "exec", containerId: "c", command: ["sh", "-c", script], choice }) as const;

interface Fixture {
  readonly server: StreamingServer;
  /** How many commands are running. */
  readonly running: () => number;
  readonly logged: string[];
}

function start(t: TestContext, port = 0): Fixture {
  let running = 0;
  const logged: string[] = [];
  const add = (_fields: object, message: string) => void logged.push(message);
  const log: Log = { debug: add, info: add, warn: add, error: add };
  const server = new StreamingServer({
    address: "127.0.0.1",
    port,
    tls: undefined,
    idleTimeoutMs: 60_000,
    creationTimeoutMs: 60_000,
    log,
  });
  server.connect({
    async exec({ command }, _size, started, signal) {
      running += 1;
      try {
        const launched = ({ streams, resize }: Launched) => started({ streams, resize, ended: Promise.resolve(0) });
        const code = await runOnPipes({ file: command[0]!, args: command.slice(1) }, launched, signal);
        signal.throwIfAborted();
        return { is: "exited", exitCode: code ?? 137 };
      } catch (error) {
        return { is: "failed", message: messageOf(error) };
      } finally {
        running -= 1;
      }
    },
    attach: () => Promise.reject(new StatusError(Code.FailedPrecondition, "nothing to attach to")),
    connect: (_request, port, signal) => connectLoopback(null, port, signal),
  });
  t.after(() => server.close(0));
  return { server, running: () => running, logged };
}

/** All worker threads, in the order in which they were started. */
const threads: Worker[] = [];
process.on("worker", (worker) => threads.push(worker));

const openFds = (): number => readdirSync("/proc/self/fd").length;

test("commands get their clients' input and its end, clients get output and exit codes, and no fd is left", async (t) => {
  const { server, running } = start(t);
  // Now the thread's own fds are open.
  await server.urlFor(execOf("true"));
  const before = openFds();
  for (const transport of transports) {
    const clients = await Promise.all(
      Array.from({ length: 10 }, async (_, i) => {
        const client = await connectRemote(
          transport,
          await server.urlFor(execOf(`cat; echo e${i} >&2; exit ${i}`)),
          choice,
        );
        await client.write(`in ${i}`);
        client.endStdin();
        const status = parseStatus(await client.ended);
        return [client.stdout().toString(), client.stderr().toString(), status.exitCode];
      }),
    );
    assert.deepEqual(
      clients,
      clients.map((_, i) => [`in ${i}`, `e${i}\n`, i]),
    );
    const vanishing = await connectRemote(transport, await server.urlFor(execOf("echo up; sleep 600")), choice);
    await waitFor(() => vanishing.stdout().toString() === "up\n");
    vanishing.vanish();
    await waitFor(() => running() === 0);
    const refused = await connectRemote(
      transport,
      await server.urlFor({ is: "attach", containerId: "c", choice }),
      choice,
    );
    assert.match(parseStatus(await refused.ended).message ?? "", /nothing to attach to/);
  }
  await waitFor(() => openFds() <= before, { message: () => `${before} fds before, ${openFds()} now` });
});

test("connections are forwarded, or refused with a message", async (t) => {
  const { server } = start(t);
  const echo = createServer({ allowHalfOpen: true }, (socket) => socket.pipe(socket));
  await new Promise<void>((resolve) => echo.listen(0, "127.0.0.1", resolve));
  t.after(() => echo.close());
  const { session } = await connectSpdy(await server.urlFor({ is: "portforward", podId: "p", ports: [] }), {
    protocols: ["portforward.k8s.io"],
  });
  const ask = async (port: number, id: number): Promise<string[]> => {
    const headers = { port: String(port), requestID: String(id) };
    const streams = [
      session.open({ ...headers, streamType: "error" }),
      session.open({ ...headers, streamType: "data" }),
    ];
    for (const stream of streams) stream.end(stream === streams[1] ? `hello ${id}` : "");
    return await Promise.all(
      streams
        .map(async (stream) => {
          const parts: Buffer[] = [];
          for await (const part of stream) parts.push(part as Buffer);
          return Buffer.concat(parts).toString();
        })
        .map((text) => text.catch(() => "")),
    );
  };
  const { port } = echo.address() as AddressInfo;
  const answers = await Promise.all(Array.from({ length: 20 }, (_, i) => ask(port, i)));
  assert.deepEqual(
    answers,
    answers.map((_, i) => ["", `hello ${i}`]),
  );
  assert.match((await ask(1, 100))[0]!, /ECONNREFUSED/);
  session.destroy();
});

test("when its thread crashes, commands are killed and the next URL starts it again", async (t) => {
  const { server, running, logged } = start(t);
  const client = await connectRemote("spdy", await server.urlFor(execOf("echo up; sleep 600")), choice);
  await waitFor(() => client.stdout().toString() === "up\n");
  // This is not a message: the thread throws, as it would for a bug.
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- that is for windows of a browser
  threads.at(-1)!.postMessage(undefined);
  await client.ended;
  await waitFor(() => running() === 0);
  await waitFor(() => logged.some((line) => line.includes("has crashed")));
  const next = await connectRemote("websocket", await server.urlFor(execOf("exit 4")), choice);
  assert.equal(parseStatus(await next.ended).exitCode, 4);
});

test("when it closes, clients get a status, commands are killed, and no more URLs are given out", async (t) => {
  const { server, running } = start(t);
  const clients = await Promise.all(
    transports.map(async (transport) =>
      connectRemote(transport, await server.urlFor(execOf("echo up; sleep 600")), choice),
    ),
  );
  await waitFor(() => clients.every((client) => client.stdout().toString() === "up\n"));
  const url = await server.urlFor(execOf("true"));
  await server.close(5000);
  for (const client of clients) assert.match(parseStatus(await client.ended).message ?? "", /being stopped/);
  assert.equal(running(), 0);
  await assert.rejects(server.urlFor(execOf("true")), (e: unknown) => codeOf(e) === Code.Unavailable);
  await assert.rejects(connectSpdy(url, { protocols: [] }), (e: unknown) => codeOf(e) === Code.Unavailable);
});

test("while its address is in use, each request for a URL says so", async (t) => {
  const { server } = start(t);
  const port = Number(new URL(await server.urlFor(execOf("true"))).port);
  const second = start(t, port);
  const unavailable = (e: unknown) =>
    codeOf(e) === Code.Unavailable && messageOf(e).includes(`port ${port}`) && messageOf(e).includes("EADDRINUSE");
  await assert.rejects(second.server.urlFor(execOf("true")), unavailable);
  await assert.rejects(second.server.urlFor(execOf("true")), unavailable);
  await server.close(0);
  assert.equal(new URL(await second.server.urlFor(execOf("true"))).port, String(port));
});
