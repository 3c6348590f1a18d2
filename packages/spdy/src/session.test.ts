import assert from "node:assert/strict";
import { Duplex, duplexPair } from "node:stream";
import { test } from "node:test";
import { Code, codeOf, StatusError } from "@keelson/base/status.ts";
import * as fc from "fast-check";
import { FrameReader } from "./frame-reader.ts";
import {
  dataFrameHead,
  type Frame,
  goAwayFrame,
  pingFrame,
  RstStatus,
  rstStreamFrame,
  settingsFrame,
  synReplyFrame,
  synStreamFrame,
  windowUpdateFrame,
} from "./frame.ts";
import { HeaderWriter } from "./header-block.ts";
import { type SessionOptions, SpdySession } from "./session.ts";
import type { SpdyStream } from "./stream.ts";

interface Pair {
  client: SpdySession;
  server: SpdySession;
  streams: SpdyStream[];
  ours: Duplex;
  theirs: Duplex;
}

/** A client and a server that accepts all streams. */
function pair(
  options: Partial<SessionOptions> = {},
  onStream: (stream: SpdyStream) => void = (stream) => stream.reply({ version: "1" }),
): Pair {
  const [ours, theirs] = duplexPair();
  const streams: SpdyStream[] = [];
  const server = new SpdySession(theirs, {
    ...options,
    role: "server",
    onStream: (stream) => (streams.push(stream), onStream(stream)),
  });
  return { client: new SpdySession(ours, { ...options, role: "client" }), server, streams, ours, theirs };
}

/** A peer made of single frames: those that it was sent, and a way to send it any. */
function rawPeer(options: Partial<SessionOptions> = {}): {
  session: SpdySession;
  streams: SpdyStream[];
  frames: Frame[];
  wire: Duplex;
  say: (...frames: Buffer[]) => void;
  headers: HeaderWriter;
} {
  const [ours, wire] = duplexPair();
  const reader = new FrameReader(1 << 20);
  const frames: Frame[] = [];
  wire.on("data", (bytes: Buffer) => frames.push(...reader.read(bytes)));
  wire.on("error", () => {});
  const streams: SpdyStream[] = [];
  const session = new SpdySession(ours, {
    role: "server",
    onStream: (stream) => (streams.push(stream), stream.reply()),
    ...options,
  });
  return {
    session,
    streams,
    frames,
    wire,
    say: (...list) => void wire.write(Buffer.concat(list)),
    headers: new HeaderWriter(),
  };
}

/** Reads to the end, and unlike node:stream/consumers leaves the other half open. */
async function buffer(stream: Duplex): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of stream.iterator({ destroyOnReturn: false })) parts.push(part as Buffer);
  return Buffer.concat(parts);
}

const text = async (stream: Duplex) => (await buffer(stream)).toString();
const turn = () => new Promise((resolve) => setImmediate(resolve));
const turns = async (count = 10) => {
  for (let i = 0; i < count; i += 1) await turn();
};
const dataBytes = (frames: readonly Frame[]) =>
  frames.reduce((sum, frame) => sum + (frame.type === "data" ? frame.data.length : 0), 0);
const resets = (frames: readonly Frame[]) =>
  frames.flatMap((frame) => (frame.type === "rstStream" ? [frame.status] : []));

test("what came before the peer gave a stream up is read to its end, whatever is being written to it", async () => {
  for (const writesBefore of [true, false]) {
    const { client, streams } = pair();
    const stream = await client.openAccepted({ streamType: "data" });
    const failed: unknown[] = [];
    // More than the peer's window: it is still being written when the peer resets the stream.
    if (writesBefore) stream.write(Buffer.alloc(1_000_000), (error) => failed.push(error));
    const answer = Buffer.alloc(100_000, "a");
    const read = buffer(stream.pause());
    await new Promise<void>((resolve) => streams[0]!.end(answer, () => resolve()));
    streams[0]!.destroy();
    await new Promise((resolve) => setTimeout(resolve, 20));
    if (!writesBefore) stream.write("more", (error) => failed.push(error));
    assert.deepEqual(await read, answer);
    if (!stream.closed) await new Promise((resolve) => stream.once("close", resolve));
    assert.deepEqual(failed.map(codeOf), [Code.Aborted]);
    client.destroy();
  }
});

test("streams carry headers and bytes both ways, and each half closes by itself", async () => {
  const { client, streams, server } = pair();
  const stream = await client.openAccepted({ streamType: "stdin" });
  assert.deepEqual(await stream.accepted, new Map([["version", "1"]]));
  const peer = streams[0]!;
  assert.equal(peer.headers.get("streamtype"), "stdin");
  stream.end("to the end");
  assert.equal(await text(peer), "to the end");
  peer.write("still ");
  peer.end("open");
  assert.equal(await text(stream), "still open");
  await turns();
  assert.deepEqual([client.openStreams, server.openStreams], [0, 0]);
});

test("both sides open streams, with numbers of their own parity", async () => {
  const [ours, theirs] = duplexPair();
  const opened: number[] = [];
  const onStream = (stream: SpdyStream) => (opened.push(stream.id), stream.reply());
  const client = new SpdySession(ours, { role: "client", onStream });
  const server = new SpdySession(theirs, { role: "server", onStream });
  await client.openAccepted({});
  await server.openAccepted({});
  await client.openAccepted({});
  assert.deepEqual(opened, [1, 2, 3]);
});

test("any bytes on any number of streams arrive in order, with small windows too", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.array(fc.nat(200_000), { maxLength: 5 }), { minLength: 1, maxLength: 6 }),
      async (plans) => {
        const { client, streams } = pair(
          { streamWindowBytes: 65536, sessionWindowBytes: 65536 },
          (stream) => (stream.reply(), stream.pipe(stream)),
        );
        const results = plans.map(async (sizes, i) => {
          const stream = client.open({ n: String(i) });
          const read = buffer(stream);
          const sent = sizes.map((size, j) => Buffer.alloc(size, i * 16 + j));
          for (const bytes of sent) stream.write(bytes);
          stream.end();
          assert.ok((await read).equals(Buffer.concat(sent)));
        });
        await Promise.all(results);
        assert.equal(streams.length, plans.length);
      },
    ),
    { numRuns: 30 },
  );
});

test("a reader that stalls holds up only its own stream, and memory stays bounded", async () => {
  const { client, streams, server } = pair({ streamWindowBytes: 128 * 1024, sessionWindowBytes: 1024 * 1024 });
  const stalled = await client.openAccepted({});
  let written = 0;
  const pump = () => {
    for (let goesOn = true; goesOn && written < 10_000_000; written += 65536)
      goesOn = stalled.write(Buffer.alloc(65536));
  };
  stalled.on("drain", pump);
  pump();
  await turns(50);
  assert.ok(written < 1_000_000, `${written} bytes were taken`);
  assert.ok(server.unreadBytes <= 128 * 1024);
  const other = await client.openAccepted({});
  other.end("through");
  assert.equal(await text(streams[1]!), "through");
  // Once it reads, everything arrives.
  let read = 0;
  streams[0]!.on("data", (bytes: Buffer) => (read += bytes.length));
  await turns(200);
  assert.equal(read, written);
  assert.ok(written >= 10_000_000);
});

test("a peer's windows are respected from the first byte on, once it shows that it has any", async () => {
  const peer = rawPeer();
  peer.say(settingsFrame(70_000), synStreamFrame(1, 0, peer.headers.write({})));
  await turns();
  peer.streams[0]!.write(Buffer.alloc(200_000));
  await turns();
  assert.equal(dataBytes(peer.frames), 65536, "the session's window");
  peer.say(windowUpdateFrame(0, 1_000_000));
  await turns();
  assert.equal(dataBytes(peer.frames), 70_000, "the stream's window");
  peer.say(windowUpdateFrame(1, 10_000));
  await turns();
  assert.equal(dataBytes(peer.frames), 80_000);
  // SPDY/3.1, 2.6.8: a smaller initial size takes back what was granted, below 0 if need be.
  peer.say(settingsFrame(50_000), windowUpdateFrame(1, 20_000));
  await turns();
  assert.equal(dataBytes(peer.frames), 80_000);
  peer.say(windowUpdateFrame(1, 200_000));
  await turns();
  assert.equal(dataBytes(peer.frames), 200_000);
});

test("before the peer's first frame, no more is sent than every peer has room for", async () => {
  const [ours, wire] = duplexPair();
  const reader = new FrameReader(1 << 20);
  const frames: Frame[] = [];
  wire.on("data", (bytes: Buffer) => frames.push(...reader.read(bytes)));
  const client = new SpdySession(ours, { role: "client" });
  client.open({}).write(Buffer.alloc(300_000));
  await turns();
  assert.equal(dataBytes(frames), 65536);
  wire.write(synReplyFrame(1, 0, new HeaderWriter().write({})));
  await turns();
  assert.equal(dataBytes(frames), 300_000);
});

test("to a peer without windows, as Kubernetes' own are, data goes as fast as its connection takes it", async () => {
  const peer = rawPeer();
  peer.say(synStreamFrame(1, 0, peer.headers.write({})));
  await turns();
  peer.streams[0]!.end(Buffer.alloc(5_000_000));
  await turns(500);
  assert.equal(dataBytes(peer.frames), 5_000_000);
});

test("a peer without windows that sends too much is not read again until there is room", async () => {
  const { session, streams, say, headers, wire, frames } = rawPeer({
    streamWindowBytes: 65536,
    sessionWindowBytes: 131072,
  });
  say(synStreamFrame(1, 0, headers.write({})), synStreamFrame(3, 0, headers.write({})));
  await turns();
  for (let i = 0; i < 100; i += 1) say(dataFrameHead(1, 65536, false), Buffer.alloc(65536));
  await turns(50);
  assert.ok(session.unreadBytes <= 3 * 65536, String(session.unreadBytes));
  assert.ok(wire.writableLength > 5_000_000, "the peer has to wait");
  say(dataFrameHead(3, 2, true), Buffer.from("ok"));
  let read = 0;
  streams[0]!.on("data", (bytes: Buffer) => (read += bytes.length));
  assert.equal(await text(streams[1]!), "ok");
  assert.equal(read, 100 * 65536);
  assert.equal(
    frames.filter((frame) => frame.type === "windowUpdate").length,
    1,
    "none after the one at the start: a peer that closes with frames unread loses the end of what it sent",
  );
});

test("a peer with windows that overruns ours is reset, and the session goes on", async () => {
  const peer = rawPeer({ streamWindowBytes: 65536 });
  peer.say(
    settingsFrame(65536),
    synStreamFrame(1, 0, peer.headers.write({})),
    synStreamFrame(3, 0, peer.headers.write({})),
  );
  await turns();
  for (let i = 0; i < 5; i += 1) peer.say(dataFrameHead(1, 65536, false), Buffer.alloc(65536));
  peer.say(dataFrameHead(3, 1, true), Buffer.from("x"));
  await turns();
  assert.deepEqual(resets(peer.frames), [RstStatus.flowControlError]);
  assert.equal(await text(peer.streams[1]!), "x");
});

test("a peer with windows gets room back as we read", async () => {
  const { client, streams } = pair({ flowControl: "always", streamWindowBytes: 65536, sessionWindowBytes: 65536 });
  const stream = client.open({});
  const all = Buffer.alloc(10_000_000, "x");
  stream.end(all);
  await turns();
  assert.equal((await buffer(streams[0]!)).length, all.length);
});

test("CANCEL is an end after what came before; other statuses are errors", async () => {
  const peer = rawPeer();
  for (const id of [1, 3, 5])
    peer.say(synStreamFrame(id, 0, peer.headers.write({})), dataFrameHead(id, 4, false), Buffer.from("last"));
  await turns();
  peer.say(
    rstStreamFrame(1, RstStatus.cancel),
    rstStreamFrame(3, RstStatus.internalError),
    rstStreamFrame(5, RstStatus.cancel),
  );
  const [one, two, three] = peer.streams;
  assert.equal(await text(one!), "last");
  await assert.rejects(
    text(two!),
    (e: unknown) => e instanceof StatusError && e.code === Code.Aborted && /INTERNAL_ERROR/.test(e.message),
  );
  await new Promise<void>((resolve) =>
    three!.write("x", (error) => (assert.equal(codeOf(error), Code.Aborted), resolve())),
  );
  assert.equal(peer.session.openStreams, 0);
});

test("a stream that is destroyed is reset for the peer, once, and data under way for it is ignored", async () => {
  const peer = rawPeer();
  peer.say(synStreamFrame(1, 0, peer.headers.write({})), dataFrameHead(1, 4, false), Buffer.from("data"));
  await turns();
  peer.streams[0]!.destroy();
  peer.say(dataFrameHead(1, 4, true), Buffer.from("late"), rstStreamFrame(1, RstStatus.cancel));
  await turns();
  assert.deepEqual(resets(peer.frames), [RstStatus.cancel]);
  assert.deepEqual([peer.session.openStreams, peer.session.unreadBytes], [0, 0]);
});

test("data for streams that never were, and after their end, is answered with a reset", async () => {
  const peer = rawPeer();
  peer.say(dataFrameHead(9, 1, false), Buffer.from("x"));
  peer.say(
    synStreamFrame(11, 0, peer.headers.write({})),
    dataFrameHead(11, 0, true),
    dataFrameHead(11, 1, false),
    Buffer.from("x"),
  );
  await turns();
  assert.deepEqual(resets(peer.frames), [RstStatus.invalidStream, RstStatus.streamAlreadyClosed]);
});

test("streams beyond the limit are refused until others end", async () => {
  const { client, streams } = pair({ maxStreams: 3 });
  const first = await Promise.all([1, 2, 3].map(() => client.openAccepted({})));
  await assert.rejects(client.openAccepted({}), (e: unknown) => codeOf(e) === Code.ResourceExhausted);
  first[0]!.destroy();
  await turns();
  await client.openAccepted({});
  assert.equal(streams.length, 4);
});

test("without a listener every stream is refused", async () => {
  const [ours, theirs] = duplexPair();
  const client = new SpdySession(ours, { role: "client" });
  void new SpdySession(theirs, { role: "server" });
  await assert.rejects(client.openAccepted({}), (e: unknown) => codeOf(e) === Code.ResourceExhausted);
});

test("stream numbers that go back, or that are ours to use, end the session", async () => {
  for (const ids of [[3, 1], [1, 1], [2]]) {
    const peer = rawPeer();
    for (const id of ids) peer.say(synStreamFrame(id, 0, peer.headers.write({})));
    const reason = await peer.session.closed;
    assert.equal(reason?.code, Code.InvalidArgument);
    assert.ok(peer.frames.some((frame) => frame.type === "goAway" && frame.status === 1));
  }
});

test("PING is answered, and ping() resolves when the peer answers", async () => {
  const { client, server } = pair();
  await Promise.all([client.ping(), server.ping(), client.ping()]);
  const peer = rawPeer();
  const lost = peer.session.ping();
  peer.wire.end();
  await assert.rejects(lost, (e: unknown) => codeOf(e) === Code.Unavailable);
  await assert.rejects(peer.session.ping(), (e: unknown) => codeOf(e) === Code.Unavailable);
});

test("a peer that keeps asking without reading the answers is dropped, in bounded memory", async () => {
  const [ours, wire] = duplexPair({ highWaterMark: 1024 });
  wire.on("error", () => {});
  const session = new SpdySession(ours, { role: "server" });
  for (let i = 1; i < 40_000; i += 2) wire.write(pingFrame(i));
  const reason = await session.closed;
  assert.equal(reason?.code, Code.ResourceExhausted);
});

test("close lets open streams end, then the transport, and is a good end on both sides", async () => {
  const { client, server, streams } = pair();
  const stream = await client.openAccepted({});
  server.close();
  await turns();
  assert.throws(
    () => client.open({}),
    (e: unknown) => codeOf(e) === Code.Unavailable,
  );
  stream.end("last words");
  assert.equal(await text(streams[0]!), "last words");
  streams[0]!.end("bye");
  assert.equal(await text(stream), "bye");
  assert.deepEqual(await Promise.all([client.closed, server.closed]), [undefined, undefined]);
});

test("GOAWAY ends the streams that the peer has not taken", async () => {
  const [ours, wire] = duplexPair();
  wire.resume();
  const client = new SpdySession(ours, { role: "client" });
  const [taken, late] = [client.open({}), client.open({})];
  wire.write(Buffer.concat([synReplyFrame(1, 0, new HeaderWriter().write({})), goAwayFrame(1, 0)]));
  await taken.accepted;
  await assert.rejects(late.accepted, (e: unknown) => codeOf(e) === Code.Unavailable);
  assert.equal(taken.destroyed, false);
});

test("when the connection ends, streams fail with the reason, and those that had ended can still be read", async () => {
  const peer = rawPeer();
  peer.say(
    synStreamFrame(1, 0, peer.headers.write({})),
    synStreamFrame(3, 0, peer.headers.write({})),
    dataFrameHead(1, 4, true),
    Buffer.from("last"),
  );
  await turns();
  peer.wire.end();
  assert.equal((await peer.session.closed)?.code, Code.Unavailable);
  assert.equal(await text(peer.streams[0]!), "last");
  await assert.rejects(text(peer.streams[1]!), (e: unknown) => codeOf(e) === Code.Unavailable);
  assert.throws(
    () => peer.session.open({}),
    (e: unknown) => codeOf(e) === Code.Unavailable,
  );
});

test("an aborted opening leaves no stream", async () => {
  const [ours, wire] = duplexPair();
  wire.resume();
  const client = new SpdySession(ours, { role: "client" });
  await assert.rejects(client.openAccepted({}, AbortSignal.timeout(10)), { name: "TimeoutError" });
  assert.equal(client.openStreams, 0);
});

test("headers beyond the limit end the session, compressed bombs too", async () => {
  const peer = rawPeer({ maxHeaderBytes: 1000 });
  peer.say(synStreamFrame(1, 0, peer.headers.write({ x: "y".repeat(2000) })));
  assert.equal((await peer.session.closed)?.code, Code.ResourceExhausted);
});

test("noise, truncations and flipped bits are taken as frames or close the session, and never throw", async () => {
  const headers = new HeaderWriter();
  const good = Buffer.concat([
    settingsFrame(100_000),
    synStreamFrame(1, 0, headers.write({ streamType: "error" })),
    synStreamFrame(3, 1, headers.write({ streamType: "stdin", port: "80" })),
    dataFrameHead(1, 5, false),
    Buffer.from("hello"),
    windowUpdateFrame(1, 100),
    windowUpdateFrame(0, 100),
    pingFrame(1),
    rstStreamFrame(1, 5),
    goAwayFrame(0, 0),
  ]);
  const feed = async (bytes: Uint8Array) => {
    const peer = rawPeer();
    for (const stream of peer.streams) stream.resume();
    peer.say(Buffer.from(bytes));
    await turns(2);
    peer.wire.end();
    await peer.session.closed;
    assert.equal(peer.session.openStreams, 0);
  };
  for (let length = 0; length < good.length; length += 3) await feed(good.subarray(0, length));
  for (let bit = 0; bit < good.length * 8; bit += 5) {
    const flipped = Buffer.from(good);
    flipped[bit >> 3]! ^= 1 << (bit & 7);
    await feed(flipped);
  }
  await fc.assert(fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), feed), { numRuns: 200 });
});

test("a write is done when the transport has sent all that it was handed of it, even if the stream is gone by then", async () => {
  const held: (() => void)[] = [];
  const transport = new Duplex({ read() {}, write: (_bytes, _encoding, done) => void held.push(done) });
  const session = new SpdySession(transport, { role: "client" });
  const stream = session.open({});
  let isDone = false;
  // More than the window has room for: the rest is never handed over.
  stream.write(Buffer.alloc(100_000), () => (isDone = true));
  await turns();
  stream.destroy();
  await turns();
  assert.equal(isDone, false, "the transport still has the buffer");
  for (let i = 0; i < 20; i += 1) {
    held.shift()?.();
    await turn();
  }
  assert.ok(isDone);
  session.destroy();
});
