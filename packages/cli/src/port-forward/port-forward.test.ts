import assert from "node:assert/strict";
import { connect } from "node:net";
import type { Duplex } from "node:stream";
import { text } from "node:stream/consumers";
import { test, type TestContext } from "node:test";
import { setImmediate } from "node:timers/promises";
import { Code, StatusError } from "@keelson/base/status.ts";
import { Interrupt, type Output } from "../io.ts";
import { startFakeRuntime } from "../testing/fake-runtime.ts";
import { type FakeStreamingOptions, startFakeStreaming } from "../testing/fake-streaming.ts";
import { parsePortPair } from "./port-pair.ts";

/** Runs port-forward until `body` is done; `portOf` waits until it has printed where it listens. */
async function withForward(
  t: TestContext,
  args: string[],
  options: FakeStreamingOptions,
  body: (portOf: (podPort: number) => Promise<number>) => Promise<void>,
) {
  const streaming = await startFakeStreaming(t, options);
  let isGone = false;
  const fake = await startFakeRuntime(t, {
    portForward: () =>
      isGone
        ? Promise.reject(new StatusError(Code.NotFound, "no such pod"))
        : Promise.resolve({ url: streaming.forwardUrl }),
  });
  const interrupt = new AbortController();
  let out = "";
  const stdout: Output = {
    isTerminal: false,
    columns: 80,
    rows: 24,
    onResize: () => assert.fail(),
    write: (data) => ((out += String(data)), Promise.resolve()),
  };
  const ended = fake.keelctlWith({ stdout, signal: interrupt.signal }, "port-forward", ...args);
  const portOf = async (podPort: number) => {
    for (;;) {
      const port = new RegExp(`^Forwarding from 127\\.0\\.0\\.1:(\\d+) -> ${podPort}$`, "m").exec(out)?.[1];
      if (port !== undefined) return Number(port);
      await setImmediate();
    }
  };
  try {
    await Promise.race([body(portOf), ended.then(({ err }) => assert.fail(err))]);
  } finally {
    isGone = true;
    interrupt.abort(new Interrupt(130));
  }
  return { fake, ...(await ended) };
}

function answerLate(connection: Duplex, port: number): void {
  let question = "";
  connection.on("data", (data) => (question += String(data)));
  connection.on("end", () => connection.end(`${port}:${question}`));
}

async function ask(port: number, question: string): Promise<string> {
  const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
  socket.end(question);
  return await text(socket);
}

for (const transport of ["spdy", "websocket"]) {
  test(`${transport}: many connections at once to several ports, each half closed on its own`, async (t) => {
    const options: FakeStreamingOptions = {
      // Answers when the question has ended.
      forward: (port, connection) => answerLate(connection, port),
    };
    const { code, err, fake } = await withForward(
      t,
      ["-r", transport, "pod1", ":80", ":81"],
      options,
      async (portOf) => {
        const ports = { 80: await portOf(80), 81: await portOf(81) };
        const long = "x".repeat(1_000_000);
        const answers = await Promise.all(
          Array.from({ length: 40 }, (_, i) => ask(ports[i % 2 === 0 ? 80 : 81], `${i}${long}`)),
        );
        answers.forEach((answer, i) =>
          assert.ok(answer === `${i % 2 === 0 ? 80 : 81}:${i}${long}`, `connection ${i}: ${answer.length}`),
        );
      },
    );
    assert.deepEqual({ code, err }, { code: 0, err: "" });
    assert.deepEqual(fake.calls, [{ name: "portForward", request: { podSandboxId: "pod1", port: [80, 81] } }]);
  });

  test(`${transport}: a port that nobody listens on is reported, and the other connections go on`, async (t) => {
    const options: FakeStreamingOptions = {
      forward: (port, connection) => {
        if (port === 9) throw new Error("dial 9: connection refused\u001b[2J");
        connection.pipe(connection);
      },
    };
    const { code, err } = await withForward(t, ["-r", transport, "pod1", ":9", ":80"], options, async (portOf) => {
      const [closed, open] = [await portOf(9), await portOf(80)];
      const before = connect({ port: open, host: "127.0.0.1" });
      before.write("be");
      assert.equal(await ask(closed, "?").catch(() => ""), "");
      before.end("fore");
      assert.equal(await text(before), "before");
      assert.equal(await ask(open, "after"), "after");
    });
    assert.equal(code, 0);
    assert.match(err, /^keelctl: a connection to port 9: Error: dial 9: connection refused\\x1b\[2J\n$/);
  });
}

test("an answer is whole for a client that reads slowly and still sends when the pod has hung up", async (t) => {
  const answer = 5_000_000;
  const options: FakeStreamingOptions = {
    forward: (_, connection) => {
      connection.resume();
      connection.end(Buffer.alloc(answer), () => connection.destroy());
    },
  };
  const { code, err } = await withForward(t, ["pod1", ":80"], options, async (portOf) => {
    const socket = connect({ port: await portOf(80), host: "127.0.0.1", allowHalfOpen: true });
    socket.on("error", () => {});
    const sending = setInterval(() => socket.write("more"), 5);
    let length = 0;
    socket.on("data", (bytes: Buffer) => {
      length += bytes.length;
      socket.pause();
      setTimeout(() => socket.resume(), 5);
    });
    await new Promise((resolve) => socket.once("close", resolve).once("end", resolve));
    clearInterval(sending);
    socket.destroy();
    assert.equal(length, answer);
  });
  assert.deepEqual({ code, err }, { code: 0, err: "" });
});

test("a client that vanishes leaves nothing", async (t) => {
  const ended = Promise.withResolvers<void>();
  await withForward(
    t,
    ["pod1", ":80"],
    { forward: (_, connection) => void connection.resume().on("end", ended.resolve) },
    async (portOf) => {
      const socket = connect(await portOf(80), "127.0.0.1");
      await new Promise((resolve) => socket.write("x", resolve));
      await setImmediate();
      socket.resetAndDestroy();
      await ended.promise;
    },
  );
});

test("a connection beyond the runtime's limit is reported", async (t) => {
  // The session takes 256 streams of a client: two for each connection.
  const { err } = await withForward(
    t,
    ["pod1", ":80"],
    { forward: (_, connection) => void connection.resume() },
    async (portOf) => {
      const port = await portOf(80);
      const sockets = Array.from({ length: 129 }, () => connect(port, "127.0.0.1"));
      await Promise.race(sockets.map((socket) => new Promise((resolve) => socket.resume().once("close", resolve))));
      for (const socket of sockets) socket.destroy();
    },
  );
  assert.match(err, /^keelctl: a connection to port 80: SPDY: the peer reset stream \d+: REFUSED_STREAM\n/);
});

test("errors: no such pod, wrong ports, a port that is in use", async (t) => {
  const streaming = await startFakeStreaming(t, {});
  const fake = await startFakeRuntime(t, {
    portForward: ({ podSandboxId }) =>
      podSandboxId === "pod1"
        ? Promise.resolve({ url: streaming.forwardUrl })
        : Promise.reject(new StatusError(Code.NotFound, "no zzz")),
  });
  assert.deepEqual(await fake.keelctl("port-forward", "zzz", ":80"), {
    code: 1,
    out: "",
    err: "keelctl: forward ports to pod zzz: no zzz (NotFound)\n",
  });
  for (const port of ["0", "80:", "65536", "1:2:3", "x", "70000:80", ":"])
    assert.match((await fake.keelctl("port-forward", "pod1", port)).err, /must be \[local:\]port/, port);
  const taken = new URL(streaming.forwardUrl).port;
  assert.match(
    (await fake.keelctl("port-forward", "pod1", `${taken}:80`)).err,
    new RegExp(`listen on 127\\.0\\.0\\.1 port ${taken}: .*EADDRINUSE.*; choose another`),
  );
});

test("port pairs", () => {
  assert.deepEqual(parsePortPair("8080:80"), { localPort: 8080, podPort: 80 });
  assert.deepEqual(parsePortPair(":80"), { localPort: 0, podPort: 80 });
  assert.deepEqual(parsePortPair("80"), { localPort: 80, podPort: 80 });
});
