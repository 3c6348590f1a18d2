import assert from "node:assert/strict";
import { once } from "node:events";
import { type Duplex, duplexPair } from "node:stream";
import { test } from "node:test";
import { Code, codeOf, StatusError } from "@keelson/base/status.ts";
import * as fc from "fast-check";
import { type ClientOptions, TtrpcClient } from "./client.ts";
import { FrameReader } from "./frame-reader.ts";
import { type Frame, frame, maxMessageBytes } from "./frame.ts";
import { decodeRequest, decodeResponse, encodeRequest, encodeResponse, type Request } from "./request.ts";
import { type ServerConnection, type ServerOptions, TtrpcServer } from "./server.ts";
import { bidiStream, clientStream, serverStream, type Services, unary } from "./service.ts";

const never = new Promise<never>(() => {});
const turn = () => new Promise((resolve) => setImmediate(resolve));
const turns = async (count = 10) => {
  for (let i = 0; i < count; i += 1) await turn();
};
const isA =
  (code: Code, text = /./) =>
  (error: unknown) =>
    error instanceof StatusError && error.code === code && text.test(error.message);
const nothing = Buffer.alloc(0);

/** The tests' messages are plain text. "!" cannot be decoded. */
const Text = {
  encode: (text: string) => ({ finish: () => Buffer.from(text) }),
  decode(bytes: Uint8Array): string {
    const text = Buffer.from(bytes).toString();
    if (text === "!") throw new RangeError("index out of range");
    return text;
  },
};

const services: Services = {
  Test: {
    Echo: { form: "unary", handle: (request) => Promise.resolve(request) },
    Fail: unary(Text, Text, (text) => {
      throw new StatusError(Code.NotFound, `no ${text}`);
    }),
    Break: { form: "unary", handle: () => (undefined as unknown as { x: { y: never } }).x.y },
    Context: unary(
      Text,
      Text,
      async (_, { metadata, service, method }) => `${service}/${method} ${JSON.stringify([...metadata])}`,
    ),
    /** Answers with the reason when its signal aborts. */
    Wait: unary(Text, Text, async (text, { signal }) => {
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
      return `${text}: ${(signal.reason as Error).name}`;
    }),
    Hang: { form: "unary", handle: () => never },
    Join: clientStream(Text, Text, async (texts) => (await Array.fromAsync(texts)).join()),
    First: clientStream(Text, Text, async (texts) => {
      for await (const text of texts) return text;
      return "none";
    }),
    Count: serverStream(Text, Text, async (text, write) => {
      for (let i = 0; i < Number(text); i += 1) await write(String(i));
    }),
    CountAndFail: serverStream(Text, Text, async (text, write) => {
      for (let i = 0; i < Number(text); i += 1) await write(String(i));
      throw new StatusError(Code.DataLoss, "that was all");
    }),
    Upper: bidiStream(Text, Text, async (texts, write) => {
      for await (const text of texts) await write(text.toUpperCase());
    }),
    Unread: {
      form: "bidiStream",
      handle: async (_messages, _write, { signal }) =>
        await new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason as Error))),
    },
    // A method with a name that all objects have.
    ["constructor" as string]: { form: "unary", handle: () => Promise.resolve(Buffer.from("own")) },
  },
};

interface Pair {
  client: TtrpcClient;
  connection: ServerConnection;
  server: TtrpcServer;
  ours: Duplex;
  theirs: Duplex;
}

function pair(options: ClientOptions & ServerOptions & { highWaterMark?: number } = {}): Pair {
  const [ours, theirs] = duplexPair({ highWaterMark: options.highWaterMark ?? 65536 });
  const server = new TtrpcServer(services, options);
  return { server, connection: server.accept(theirs), client: new TtrpcClient(ours, options), ours, theirs };
}

const call = async (client: TtrpcClient, method: string, text = "", options = {}) =>
  (await client.call("Test", method, Buffer.from(text), options)).toString();
const texts = async (messages: AsyncIterable<Buffer>) => (await Array.fromAsync(messages)).map(String);

/** A peer that speaks in frames: it collects what it is sent, and can send anything. */
function wire(highWaterMark = 65536) {
  const [ours, theirs] = duplexPair({ highWaterMark });
  const reader = new FrameReader();
  const frames: Frame[] = [];
  theirs.on("error", () => {});
  const listen = () => theirs.on("data", (bytes: Buffer) => frames.push(...reader.read(bytes)));
  return { ours, theirs, frames, listen, say: (...list: Buffer[]) => void theirs.write(Buffer.concat(list)) };
}

function rawClient(options: ServerOptions = {}) {
  const peer = wire();
  peer.listen();
  const connection = new TtrpcServer(services, options).accept(peer.ours);
  const responses = () =>
    peer.frames.flatMap((frame) => (frame.type === "response" ? [[frame.streamId, codeOfResponse(frame.data)]] : []));
  return { ...peer, connection, responses };
}

function rawServer(options: ClientOptions = {}) {
  const peer = wire();
  peer.listen();
  return { ...peer, client: new TtrpcClient(peer.ours, options) };
}

const codeOfResponse = (data: Buffer) => decodeResponse(data).error?.code ?? Code.Ok;
const request = (method: string, payload: Uint8Array | string = "", more: Partial<Request> = {}) =>
  encodeRequest({
    service: "Test",
    method,
    payload: Buffer.from(payload),
    timeoutNs: 0n,
    metadata: new Map(),
    ...more,
  });
const open = (id: number, method: string, payload: Uint8Array | string = "", flags = 0, more: Partial<Request> = {}) =>
  frame("request", id, flags, request(method, payload, more));
const answer = (id: number, payload: string) =>
  frame("response", id, 0, encodeResponse({ payload: Buffer.from(payload) }));

test("calls run side by side, each with its own answer, on odd streams that rise", async () => {
  const { client, connection, theirs } = pair();
  const ids: number[] = [];
  const reader = new FrameReader();
  theirs.on("data", (bytes: Buffer) => ids.push(...[...reader.read(bytes)].map((frame) => frame.streamId)));
  const waiting = call(client, "Hang");
  const answers = await Promise.all(Array.from({ length: 100 }, (_, i) => call(client, "Echo", String(i))));
  assert.deepEqual(
    answers,
    Array.from({ length: 100 }, (_, i) => String(i)),
  );
  assert.deepEqual(
    ids,
    Array.from({ length: 101 }, (_, i) => 2 * i + 1),
  );
  assert.deepEqual([client.callsUnderWay, connection.callsUnderWay], [1, 1]);
  client.destroy();
  await assert.rejects(waiting, isA(Code.Cancelled));
});

test("payloads up to the limit pass both ways; larger ones are refused before they are sent", async () => {
  const { client } = pair();
  const large = Buffer.alloc(maxMessageBytes - 100, "x");
  assert.ok((await client.call("Test", "Echo", large)).equals(large));
  await assert.rejects(
    client.call("Test", "Echo", Buffer.alloc(maxMessageBytes)),
    isA(Code.ResourceExhausted, /Test\/Echo: the request has 4194\d+ bytes/),
  );
  assert.equal((await client.call("Test", "Echo", nothing)).length, 0);
});

test("an answer that is too long fails its call only", async () => {
  const large: Services = {
    Test: {
      Large: { form: "unary", handle: () => Promise.resolve(Buffer.alloc(maxMessageBytes)) },
      Echo: services.Test!.Echo!,
    },
  };
  const [ours, theirs] = duplexPair();
  new TtrpcServer(large).accept(theirs);
  const client = new TtrpcClient(ours);
  await assert.rejects(call(client, "Large"), isA(Code.ResourceExhausted, /Test\/Large/));
  assert.equal(await call(client, "Echo", "on"), "on");
  // The same for a server that sends it anyway.
  const peer = rawServer();
  const [lost, other] = [call(peer.client, "Large"), call(peer.client, "Echo")];
  const head = Buffer.from("00400001000000010200", "hex");
  peer.say(head, Buffer.alloc(maxMessageBytes + 1), answer(3, "on"));
  await assert.rejects(lost, isA(Code.ResourceExhausted, /4194305 bytes/));
  assert.equal(await other, "on");
});

test("a handler's error is the call's status; other failures say what they are", async () => {
  const { client } = pair();
  await assert.rejects(call(client, "Fail", "such thing"), isA(Code.NotFound, /^no such thing$/));
  await assert.rejects(call(client, "Break"), isA(Code.Internal, /undefined/));
  await assert.rejects(
    call(client, "Fail", "!"),
    isA(Code.InvalidArgument, /Test\/Fail: the message is not of the method's type/),
  );
  await assert.rejects(call(client, "Nope"), isA(Code.Unimplemented, /service Test has no method Nope/));
  await assert.rejects(client.call("Nope", "Echo", nothing), isA(Code.Unimplemented, /service Nope/));
  for (const name of ["toString", "__proto__", ""])
    await assert.rejects(client.call(name, name, nothing), isA(Code.Unimplemented));
  assert.equal(await call(client, "constructor"), "own");
  const long = { Test: { Fail: unary(Text, Text, () => Promise.reject(new Error("x".repeat(10_000_000)))) } };
  const [ours, theirs] = duplexPair();
  new TtrpcServer(long).accept(theirs);
  await assert.rejects(call(new TtrpcClient(ours), "Fail"), (e: Error) => e.message.length < 20_000);
});

test("metadata arrives with its keys in lower case", async () => {
  const { client } = pair();
  assert.equal(
    await call(client, "Context", "", { metadata: { "Containerd-Namespace": "k8s.io", list: ["a", "b"] } }),
    'Test/Context [["containerd-namespace",["k8s.io"]],["list",["a","b"]]]',
  );
});

test("a timeout ends the call here, aborts the handler there, and its late answer is dropped", async () => {
  const { client, connection } = pair();
  await assert.rejects(
    call(client, "Wait", "late", { timeoutMs: 20 }),
    isA(Code.DeadlineExceeded, /Test\/Wait: no answer within 20 ms/),
  );
  for (const timeoutMs of [0, -1, NaN])
    await assert.rejects(call(client, "Echo", "", { timeoutMs }), isA(Code.DeadlineExceeded));
  assert.equal(await call(client, "Echo", "", { timeoutMs: Infinity }), "");
  while (connection.callsUnderWay > 0) await turn();
  assert.equal(await call(client, "Echo", "goes on"), "goes on");
  assert.equal(client.callsUnderWay, 0);
});

test("the server enforces the deadline itself, even one that is over already", async () => {
  const peer = rawClient();
  peer.say(
    open(1, "Wait", "a", 0, { timeoutNs: 5_000_000n }),
    open(3, "Wait", "b", 0, { timeoutNs: -1n }),
    open(5, "Wait", "c", 0, { timeoutNs: 2n ** 63n - 1n }),
  );
  while (peer.frames.length < 2) await turn();
  const answers = peer.frames.map((frame) =>
    frame.type === "response" ? decodeResponse(frame.data).payload.toString() : "",
  );
  assert.deepEqual(answers.sort(), ["a: TimeoutError", "b: TimeoutError"]);
  peer.theirs.end();
  await peer.connection.closed;
});

test("a signal ends a call with its reason, and leaves nothing behind", async () => {
  const { client } = pair();
  const abort = new AbortController();
  const waiting = call(client, "Hang", "", { signal: abort.signal });
  abort.abort();
  await assert.rejects(waiting, isA(Code.Cancelled, /Test\/Hang/));
  await assert.rejects(call(client, "Echo", "", { signal: abort.signal }), isA(Code.Cancelled));
  await assert.rejects(call(client, "Hang", "", { signal: AbortSignal.timeout(5) }), isA(Code.DeadlineExceeded));
  await assert.rejects(
    call(client, "Echo", "", { signal: AbortSignal.abort(new StatusError(Code.Aborted, "the pod is gone")) }),
    isA(Code.Aborted, /the pod is gone/),
  );
  assert.equal(client.callsUnderWay, 0);
});

test("when the connection is lost, all calls fail with Unavailable and the reason, and the handlers' signals abort", async () => {
  const { client, connection, theirs } = pair();
  const stream = client.openStream("Test", "Upper", "bidiStream");
  const lost = [call(client, "Hang"), call(client, "Wait"), texts(stream)];
  await turns();
  theirs.destroy(new Error("ECONNRESET"));
  for (const result of lost)
    await assert.rejects(
      result,
      isA(Code.Unavailable, /Test\/(Hang|Wait|Upper): ttrpc: the (peer closed the connection|connection is closed)/),
    );
  await assert.rejects(stream.write(nothing), isA(Code.Unavailable));
  assert.equal((await client.closed)?.code, Code.Unavailable);
  assert.match((await connection.closed)?.message ?? "", /the connection broke: ECONNRESET/);
  await assert.rejects(call(client, "Echo"), isA(Code.Unavailable, /Test\/Echo/));
  // The handler that waits for its signal is done; the one that hangs is not.
  await turns();
  assert.equal(connection.callsUnderWay, 1);
});

test("an end within a frame is reported as such", async () => {
  const peer = rawServer();
  const lost = call(peer.client, "Echo");
  peer.say(answer(1, "cut").subarray(0, 12));
  peer.theirs.end();
  await assert.rejects(lost, isA(Code.Unavailable, /closed the connection within a frame/));
});

test("a client's stream gets one answer", async () => {
  const { client, connection } = pair();
  const stream = client.openStream("Test", "Join", "clientStream");
  for (const text of ["a", "", "b"]) await stream.write(Buffer.from(text));
  stream.end();
  assert.equal((await stream.response()).toString(), "a,,b");
  await assert.rejects(stream.write(nothing), isA(Code.FailedPrecondition));
  await assert.rejects(stream.response(), isA(Code.Internal));
  const empty = client.openStream("Test", "Join", "clientStream");
  empty.end();
  assert.equal((await empty.response()).length, 0);
  assert.deepEqual([client.callsUnderWay, connection.callsUnderWay], [0, 0]);
});

test("a server may answer a client's stream before its end; messages on their way are dropped", async () => {
  const { client, connection } = pair();
  const stream = client.openStream("Test", "First", "clientStream");
  await stream.write(Buffer.from("1"));
  await stream.write(Buffer.from("2"));
  assert.equal((await stream.response()).toString(), "1");
  await assert.rejects(stream.write(nothing), isA(Code.FailedPrecondition, /the server has ended the stream/));
  stream.end();
  await turns();
  assert.deepEqual([client.callsUnderWay, connection.callsUnderWay, await call(client, "Echo", "on")], [0, 0, "on"]);
});

test("a server's stream arrives in order, and then its status", async () => {
  const { client } = pair();
  const stream = (method: string) => client.openStream("Test", method, "serverStream", { request: Buffer.from("5") });
  assert.deepEqual(await texts(stream("Count")), ["0", "1", "2", "3", "4"]);
  const read: string[] = [];
  await assert.rejects(
    async () => {
      for await (const text of stream("CountAndFail")) read.push(text.toString());
    },
    isA(Code.DataLoss, /^that was all$/),
  );
  assert.deepEqual(read, ["0", "1", "2", "3", "4"]);
  await assert.rejects(stream("Count").write(nothing), isA(Code.FailedPrecondition));
  await assert.rejects(texts(client.openStream("Test", "Nope", "serverStream")), isA(Code.Unimplemented));
});

test("a stream in both directions goes on after one half has ended", async () => {
  const { client } = pair();
  const stream = client.openStream("Test", "Upper", "bidiStream");
  const messages = stream[Symbol.asyncIterator]();
  for (const text of ["a", "b"]) {
    await stream.write(Buffer.from(text));
    assert.equal((await messages.next()).value?.toString(), text.toUpperCase());
  }
  await stream.write(Buffer.from("c"));
  stream.end();
  assert.deepEqual(await texts(stream), ["C"]);
  assert.equal(client.callsUnderWay, 0);
});

test("any messages on any number of streams arrive in order, even through a narrow connection", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.array(fc.nat(100_000), { maxLength: 5 }), { minLength: 1, maxLength: 6 }),
      fc.constantFrom(16, 1024, 65536),
      async (plans, highWaterMark) => {
        const { client } = pair({ highWaterMark });
        const results = plans.map(async (sizes, i) => {
          const stream = client.openStream("Test", "Upper", "bidiStream");
          const read = Array.fromAsync(stream);
          const sent = sizes.map((size, j) => Buffer.alloc(size, 65 + i * 5 + (j % 5)));
          for (const bytes of sent) await stream.write(Buffer.from(bytes.toString().toLowerCase()));
          stream.end();
          assert.deepEqual(
            (await read).map(String),
            sent.map((bytes) => bytes.toString().toUpperCase()),
          );
        });
        await Promise.all(results);
        assert.equal(client.callsUnderWay, 0);
      },
    ),
    { numRuns: 30 },
  );
});

test("a stream that is left early is over on this side, and the server learns that nothing more comes", async () => {
  const { client, connection } = pair();
  const stream = client.openStream("Test", "Upper", "bidiStream");
  await stream.write(Buffer.from("a"));
  for await (const text of stream) {
    assert.equal(text.toString(), "A");
    break;
  }
  assert.equal(client.callsUnderWay, 0);
  await turns();
  assert.equal(connection.callsUnderWay, 0);
  await assert.rejects(stream.write(nothing), isA(Code.Cancelled));
  {
    using endless = client.openStream("Test", "Count", "serverStream", { request: Buffer.from("1000") });
    assert.equal((await endless[Symbol.asyncIterator]().next()).value?.toString(), "0");
  }
  assert.equal(await call(client, "Echo", "on"), "on");
});

test("writing waits for the peer to read", async () => {
  const peer = wire();
  const client = new TtrpcClient(peer.ours);
  const stream = client.openStream("Test", "Join", "clientStream");
  let written = 0;
  const pump = (async () => {
    for (; written < 10_000_000; written += 65536) await stream.write(Buffer.alloc(65536));
  })();
  await turns(50);
  assert.ok(written < 1_000_000, `${written} bytes were taken`);
  // A call waits in the queue; a call that was given up meanwhile is never sent.
  const abort = new AbortController();
  const late = call(client, "Echo", "late");
  const gone = call(client, "Echo", "gone", { signal: abort.signal });
  abort.abort();
  await assert.rejects(gone, isA(Code.Cancelled));
  peer.listen();
  await pump;
  const requests = peer.frames.flatMap((frame) => (frame.type === "request" ? [frame] : []));
  assert.deepEqual(
    requests.map(({ streamId, data }) => [streamId, decodeRequest(data).payload.toString()]),
    [
      [1, ""],
      [3, "late"],
    ],
  );
  peer.say(answer(3, "ok"));
  assert.equal(await late, "ok");
});

test("a handler's writing waits for the peer to read", async () => {
  let written = 0;
  const [ours, theirs] = duplexPair();
  const flood: Services = {
    Test: {
      Flood: {
        form: "serverStream",
        handle: async (_request, write) => {
          for (; written < 200; written += 1) await write(Buffer.alloc(65536));
        },
      },
    },
  };
  const connection = new TtrpcServer(flood).accept(theirs);
  ours.write(open(1, "Flood", "", 1));
  await turns(50);
  assert.ok(written < 10, `${written} messages were taken`);
  let bytes = 0;
  ours.on("data", (part: Buffer) => (bytes += part.length));
  while (connection.callsUnderWay > 0) await turn();
  await turns();
  assert.equal(bytes, 200 * 65546 + 10);
});

test("a stream that nobody reads holds up the connection for a while, then fails, and the others go on", async () => {
  for (const side of ["server", "client"] as const) {
    const { client, ours, theirs } = pair({ stallMs: 30, highWaterMark: 16 * 1024 });
    const held = once(side === "server" ? theirs : ours, "pause");
    const stalled =
      side === "server"
        ? client.openStream("Test", "Unread", "bidiStream")
        : client.openStream("Test", "Count", "serverStream", { request: Buffer.from("1000000") });
    const flood = (async () => {
      if (side === "server") for (;;) await stalled.write(Buffer.alloc(10_000));
    })();
    flood.catch(() => {});
    await held;
    assert.equal(await call(client, "Echo", "through"), "through");
    await assert.rejects(texts(stalled), isA(Code.ResourceExhausted, /were not read for 30 ms/));
    client.destroy();
  }
});

test("a slow reader loses nothing", async () => {
  const { client } = pair({ highWaterMark: 1024 });
  const stream = client.openStream("Test", "Count", "serverStream", { request: Buffer.from("5000") });
  let next = 0;
  for await (const text of stream) {
    assert.equal(text.toString(), String(next));
    next += 1;
    if (next % 50 === 0) await turns(3);
  }
  assert.equal(next, 5000);
});

test("close lets the calls end and then closes the connection in good order", async () => {
  const { client, connection } = pair();
  const stream = client.openStream("Test", "Upper", "bidiStream");
  client.close();
  await assert.rejects(call(client, "Echo"), isA(Code.Unavailable, /is closing/));
  await stream.write(Buffer.from("last"));
  stream.end();
  assert.deepEqual(await texts(stream), ["LAST"]);
  assert.equal(await client.closed, undefined);
  assert.match((await connection.closed)?.message ?? "", /the peer closed the connection$/);
});

test("a server closes when its calls have ended, and refuses new ones until then", async () => {
  const { client, server } = pair();
  const stream = client.openStream("Test", "Upper", "bidiStream");
  await turns();
  const closed = server.close(60_000);
  await assert.rejects(call(client, "Echo"), isA(Code.Unavailable, /the server is closing/));
  await stream.write(Buffer.from("last"));
  stream.end();
  assert.deepEqual(await texts(stream), ["LAST"]);
  await closed;
  assert.equal((await client.closed)?.code, Code.Unavailable);
});

test("a server that closes ends by force the calls that do not end by themselves", async () => {
  const { client, server, connection } = pair();
  const waiting = call(client, "Hang");
  await turns();
  await Promise.all([server.close(10), assert.rejects(waiting, isA(Code.Unavailable))]);
  assert.equal((await connection.closed)?.code, Code.Cancelled);
  // A connection that comes afterwards, and one that does not end when it is asked to.
  const [far, late] = duplexPair();
  far.resume().on("end", () => far.end());
  await server.accept(late).closed;
  const idle = pair();
  idle.ours.pause();
  await idle.server.close(10);
});

test("calls beyond the limits are refused until others have ended", async () => {
  const [ours, theirs] = duplexPair();
  const client = new TtrpcClient(ours);
  const connection = new TtrpcServer(services, { maxCalls: 3 }).accept(theirs);
  const waiting = [1, 2, 3].map(() => call(client, "Wait", "", { timeoutMs: 30 }));
  await assert.rejects(call(client, "Echo"), isA(Code.ResourceExhausted, /3 calls/));
  await Promise.allSettled(waiting);
  while (connection.callsUnderWay > 0) await turn();
  assert.equal(await call(client, "Echo", "room"), "room");
  const few = pair({ maxCalls: 3 });
  await assert.rejects(
    Promise.all([1, 2, 3, 4].map(() => call(few.client, "Hang"))),
    isA(Code.ResourceExhausted, /3 calls are under way/),
  );

  const small = pair({ maxRequestBytes: 1000 });
  const held = call(small.client, "Wait", "x".repeat(900), { timeoutMs: 30 });
  await assert.rejects(
    call(small.client, "Echo", "x".repeat(200)),
    isA(Code.ResourceExhausted, /more than 1000 bytes/),
  );
  await assert.rejects(held, isA(Code.DeadlineExceeded));
});

test("stream numbers that are even, zero, used before or lower than the last are refused on their stream", async () => {
  const peer = rawClient();
  peer.say(open(2, "Echo"), open(0, "Echo"), open(7, "Echo"), open(5, "Echo"), open(7, "Echo"), open(9, "Echo"));
  await turns();
  const bad = Code.InvalidArgument;
  assert.deepEqual(
    peer.responses().sort(([a = 0], [b = 0]) => a - b),
    [
      [0, bad],
      [2, bad],
      [5, bad],
      [7, bad],
      [9, Code.Ok],
    ],
  );
});

test("a stream number that is used again during its call ends that call", async () => {
  const peer = rawClient();
  peer.say(open(1, "Wait"));
  await turns();
  peer.say(open(1, "Echo"));
  await turns();
  assert.deepEqual(peer.responses(), [[1, Code.InvalidArgument]]);
  assert.equal(peer.connection.callsUnderWay, 0);
});

test("wrong flags, and data where none belongs, end their call and no other", async () => {
  const peer = rawClient();
  const data = (id: number, flags: number, text = "") => frame("data", id, flags, Buffer.from(text));
  peer.say(open(1, "Echo", "", 3), open(3, "Echo", "", 2), open(5, "Echo", "", 8), open(7, "Count", "1", 2));
  peer.say(
    open(9, "Join", "", 2),
    data(9, 2),
    open(11, "Join", "", 2),
    data(11, 4, "x"),
    open(13, "Join", "", 2),
    data(13, 5),
    data(13, 0, "x"),
  );
  peer.say(data(15, 0, "x"), data(2, 0), data(0, 5), open(17, "Hang"), data(17, 0, "x"), open(19, "Echo", "ok", 1));
  await turns();
  const bad = Code.InvalidArgument;
  const wrong = [0, 1, 2, 3, 5, 7, 9, 11, 13, 15, 17].map((id) => [id, bad]);
  assert.deepEqual(
    peer.responses().sort(([a = 0], [b = 0]) => a - b),
    [...wrong, [19, Code.Ok]],
  );
  // What arrives for streams that have ended was sent before the peer knew.
  peer.say(data(9, 0, "x"), data(19, 5));
  await turns();
  assert.equal(peer.frames.length, 12);
});

test("a stream's first message may come with the request, its last one with the end", async () => {
  const peer = rawClient();
  peer.say(open(1, "Join", "a", 2), frame("data", 1, 0, Buffer.from("b")), frame("data", 1, 1, Buffer.from("c")));
  peer.say(
    open(3, "Join", "only", 0),
    open(5, "Join", "", 1),
    open(7, "Join", "", 0),
    open(9, "Join", "", 2),
    frame("data", 9, 0, nothing),
    frame("data", 9, 1, nothing),
  );
  await turns();
  const answers = peer.frames
    .toSorted((a, b) => a.streamId - b.streamId)
    .map((frame) => (frame.type === "response" ? decodeResponse(frame.data).payload.toString() : ""));
  assert.deepEqual(answers, ["a,b,c", "only", "", "", ","]);
});

test("a message that is too long is refused on its stream, and the connection goes on", async () => {
  const peer = rawClient();
  const long = (id: number, type: number) =>
    Buffer.concat([Buffer.from("00400001", "hex"), Buffer.of(0, 0, 0, id, type, 0), Buffer.alloc(maxMessageBytes + 1)]);
  peer.say(long(1, 1), open(3, "Join", "", 2), long(3, 3), open(5, "Echo"));
  while (peer.frames.length < 3) await turn();
  assert.deepEqual(
    peer.responses().sort(([a = 0], [b = 0]) => a - b),
    [
      [1, Code.ResourceExhausted],
      [3, Code.ResourceExhausted],
      [5, Code.Ok],
    ],
  );
});

test("a request that cannot be decoded is InvalidArgument", async () => {
  const peer = rawClient();
  peer.say(frame("request", 1, 0, Buffer.from("08", "hex")), frame("request", 3, 0, nothing));
  await turns();
  assert.deepEqual(peer.responses(), [
    [1, Code.InvalidArgument],
    [3, Code.Unimplemented],
  ]);
});

test("a peer that goes on asking and never reads is not read either", async () => {
  const [ours, theirs] = duplexPair({ highWaterMark: 65536 });
  const connection = new TtrpcServer(services).accept(theirs);
  let sent = 0;
  const payload = Buffer.alloc(10_000);
  while (sent < 20_000_000 && ours.write(open(2 * Math.floor(sent / 10_000) + 1, "Echo", payload))) {
    sent += 10_000;
    await turn();
  }
  await turns();
  assert.ok(sent < 1_000_000, `${sent} bytes were read`);
  assert.ok(theirs.writableLength < 1_000_000);
  ours.resume();
  while (connection.callsUnderWay > 0) await turn();
  connection.destroy();
});

test("a flood of streams that stay open is bounded", async () => {
  const peer = rawClient();
  for (let id = 1; id < 20_000; id += 2) peer.say(open(id, "Join", "x", 2));
  while (peer.frames.length < 10_000 - 256) await turn();
  assert.equal(peer.connection.callsUnderWay, 256);
  assert.ok(peer.responses().every(([, code]) => code === Code.ResourceExhausted));
  peer.theirs.end();
  await peer.connection.closed;
  await turns();
  assert.equal(peer.connection.callsUnderWay, 0);
});

test("answers on streams that we never opened end the connection; late answers are dropped", async () => {
  for (const bad of [
    answer(2, ""),
    answer(0, ""),
    answer(3, ""),
    answer(0xffffffff, ""),
    frame("data", 5, 0, nothing),
    open(1, "Echo"),
  ]) {
    const peer = rawServer();
    const lost = call(peer.client, "Echo");
    peer.say(bad);
    await assert.rejects(
      lost,
      isA(
        Code.Unavailable,
        /Test\/Echo: ttrpc: the connection was dropped: the peer sent a \w+ on stream \d+, which we never opened/,
      ),
    );
  }
  const peer = rawServer();
  await assert.rejects(call(peer.client, "Echo", "", { timeoutMs: 1 }), isA(Code.DeadlineExceeded));
  const next = call(peer.client, "Echo");
  peer.say(answer(1, "late"), frame("data", 1, 1, nothing), answer(1, "later"), answer(3, "next"));
  assert.equal(await next, "next");
  const server = rawClient();
  server.say(answer(1, ""));
  assert.match((await server.connection.closed)?.message ?? "", /a response \(stream 1\) to a server/);
});

test("an answer that cannot be read fails its call and no other", async () => {
  const peer = rawServer();
  const joined = peer.client.openStream("Test", "Join", "clientStream");
  const results = [
    call(peer.client, "Echo"),
    call(peer.client, "Echo"),
    texts(peer.client.openStream("Test", "Count", "serverStream")),
    texts(peer.client.openStream("Test", "Count", "serverStream")),
    joined.response(),
  ];
  const good = call(peer.client, "Echo");
  peer.say(
    frame("response", 3, 0, Buffer.from("08", "hex")),
    frame("data", 5, 0, nothing),
    frame("data", 7, 8, nothing),
    frame("data", 9, 4, Buffer.from("x")),
    frame("data", 1, 0, nothing),
    answer(11, "good"),
  );
  for (const result of results) await assert.rejects(result, isA(Code.Internal, /^Test\/(Echo|Count|Join): /));
  assert.equal(await good, "good");
});

test("a stream may end with a response, which is its last message unless it is empty", async () => {
  const peer = rawServer();
  const streams = [1, 2].map(() => texts(peer.client.openStream("Test", "Count", "serverStream")));
  peer.say(frame("data", 1, 0, Buffer.from("a")), answer(1, "b"), frame("data", 3, 1, Buffer.from("c")));
  assert.deepEqual(await Promise.all(streams), [["a", "b"], ["c"]]);
});

test("a half-close carries no message, in the form that Go's servers understand", async () => {
  const peer = rawServer();
  const stream = peer.client.openStream("Test", "Join", "clientStream", { metadata: { a: "b" }, timeoutMs: 60_000 });
  await stream.write(nothing);
  stream.end();
  await turns();
  assert.deepEqual(peer.frames.slice(1), [
    { type: "data", streamId: 1, flags: 0, data: nothing },
    { type: "data", streamId: 1, flags: 5, data: nothing },
  ]);
  const [first] = peer.frames;
  assert.ok(first?.type === "request" && first.flags === 2);
  assert.deepEqual(
    { ...decodeRequest(first.data) },
    {
      service: "Test",
      method: "Join",
      payload: nothing,
      timeoutNs: 60_000_000_000n,
      metadata: new Map([["a", ["b"]]]),
    },
  );
  peer.client.destroy();
  await assert.rejects(stream.response(), isA(Code.Cancelled));
});

test("noise, truncations and flipped bits are taken or close the connection; they never make it throw", async () => {
  const toServer = Buffer.concat([
    open(1, "Echo", "hello", 0, { timeoutNs: 1_000_000_000n, metadata: new Map([["k", ["v"]]]) }),
    open(3, "Join", "a", 2),
    frame("data", 3, 0, Buffer.from("b")),
    frame("data", 3, 5, nothing),
    open(5, "Count", "3", 1),
    open(7, "Upper", "", 2),
    frame("data", 7, 1, Buffer.from("c")),
  ]);
  const toClient = Buffer.concat([
    answer(1, "hello"),
    frame("data", 3, 0, Buffer.from("x")),
    frame("data", 3, 5, nothing),
    frame("response", 5, 0, encodeResponse({ code: Code.NotFound, message: "no" })),
  ]);
  const feedServer = async (bytes: Uint8Array) => {
    const peer = rawClient();
    peer.say(Buffer.from(bytes));
    await turns(2);
    peer.theirs.end();
    await peer.connection.closed;
    await turns(3);
    assert.equal(peer.connection.callsUnderWay, 0);
  };
  const feedClient = async (bytes: Uint8Array) => {
    const peer = rawServer();
    const stream = peer.client.openStream("Test", "Count", "serverStream");
    const results = Promise.allSettled([call(peer.client, "Echo"), texts(stream), call(peer.client, "Fail")]);
    peer.say(Buffer.from(bytes));
    await turns(2);
    peer.theirs.end();
    for (const result of await results)
      assert.ok(result.status === "fulfilled" || result.reason instanceof StatusError);
    assert.equal(peer.client.callsUnderWay, 0);
    assert.notEqual(codeOf(await peer.client.closed), undefined);
  };
  for (const [good, feed] of [
    [toServer, feedServer],
    [toClient, feedClient],
  ] as const) {
    for (let length = 0; length < good.length; length += 1) await feed(good.subarray(0, length));
    for (let bit = 0; bit < good.length * 8; bit += 3) {
      const flipped = Buffer.from(good);
      flipped[bit >> 3]! ^= 1 << (bit & 7);
      await feed(flipped);
    }
    await fc.assert(fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), feed), { numRuns: 200 });
  }
});
