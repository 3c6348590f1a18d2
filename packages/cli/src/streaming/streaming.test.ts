import assert from "node:assert/strict";
import { PassThrough, Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { test, type TestContext } from "node:test";
import { setImmediate } from "node:timers/promises";
import { ContainerState, ContainerStatus } from "@keelson/cri/gen/runtime/v1/api.ts";
import { Interrupt, type Io, type Output } from "../io.ts";
import { runWith, startFakeRuntime } from "../testing/fake-runtime.ts";
import { type FakeStreamingOptions, startFakeStreaming } from "../testing/fake-streaming.ts";
import { DetachScanner, parseDetachKeys } from "./detach-keys.ts";
import { parseExitStatus } from "./exit-status.ts";

const success = '{"metadata":{},"status":"Success"}';
const exited = (code: number, message = `command terminated with exit code ${code}`) =>
  JSON.stringify({
    metadata: {},
    status: "Failure",
    message,
    reason: "NonZeroExitCode",
    details: { causes: [{ reason: "ExitCode", message: String(code) }] },
  });

async function startStreams(t: TestContext, options: FakeStreamingOptions) {
  const streaming = await startFakeStreaming(t, options);
  const fake = await startFakeRuntime(t, {
    exec: (request) => Promise.resolve({ url: streaming.commandUrl(request) }),
    attach: (request) => Promise.resolve({ url: streaming.commandUrl(request) }),
  });
  return fake;
}

/** A terminal: what is typed comes from `keys`; it records the modes that it was set to. */
function terminal(keys: Readable) {
  const modes: boolean[] = [];
  let listener = () => {};
  let out = "";
  const size = { columns: 101, rows: 33 };
  const stdout: Output = {
    isTerminal: true,
    get columns() {
      return size.columns;
    },
    get rows() {
      return size.rows;
    },
    onResize: (wanted) => {
      listener = wanted;
      return { [Symbol.dispose]: () => (listener = () => {}) };
    },
    write: (data) => ((out += Buffer.from(data).toString()), Promise.resolve()),
  };
  const stdin = { isTerminal: true, open: () => keys, setRaw: (isRaw: boolean) => void modes.push(isRaw) };
  const resize = (columns: number, rows: number) => {
    Object.assign(size, { columns, rows });
    listener();
  };
  return { io: { stdin, stdout } satisfies Partial<Io>, modes, resize, out: () => out };
}

function piped(stream: Readable): Partial<Io> {
  return { stdin: { isTerminal: false, open: () => stream, setRaw: () => assert.fail("no terminal") } };
}

for (const transport of ["spdy", "websocket"]) {
  test(`${transport}: stdout and stderr stay apart, the command's exit code is ours`, async (t) => {
    const fake = await startStreams(t, {
      command: async ({ stdout, stderr }) => {
        stdout.write("out");
        stderr.write("err");
        return exited(7);
      },
    });
    assert.deepEqual(await fake.keelctl("exec", "-r", transport, "abc", "sh", "-c", "exit 7"), {
      code: 7,
      out: "out",
      err: "err",
    });
    assert.deepEqual(fake.calls.at(-1), {
      name: "exec",
      request: {
        containerId: "abc",
        cmd: ["sh", "-c", "exit 7"],
        stdin: false,
        stdout: true,
        stderr: true,
        tty: false,
      },
    });
  });

  test(`${transport}: stdin goes to the command, and its end; megabytes come back unchanged`, async (t) => {
    const fake = await startStreams(t, {
      command: async ({ stdin, stdout }) => {
        const all = await buffer(stdin);
        await new Promise((resolve) => stdout.write(all, resolve));
        return success;
      },
    });
    const bytes = Buffer.alloc(3_000_000, "0123456789abcde\n");
    const outcome = await fake.keelctlWith(
      piped(Readable.from([bytes.subarray(0, 1_000_001), bytes.subarray(1_000_001)])),
      "exec",
      "-i",
      "-r",
      transport,
      "abc",
      "cat",
    );
    assert.equal(outcome.code, 0, outcome.err);
    assert.ok(outcome.out === bytes.toString());
  });

  test(`${transport}: a command that reads no more still ends, and so does keelctl`, async (t) => {
    const fake = await startStreams(t, { command: async ({ stdout }) => (stdout.write("first"), success) });
    assert.deepEqual(
      await fake.keelctlWith(piped(new PassThrough()), "exec", "-i", "-r", transport, "abc", "head", "-1"),
      { code: 0, out: "first", err: "" },
    );
  });

  test(`${transport}: a terminal is raw while the command runs, which gets its size at first and at each change`, async (t) => {
    const keys = new PassThrough();
    const tty = terminal(keys);
    const fake = await startStreams(t, {
      command: async ({ stdin, stdout, sizes }) => {
        while (sizes.length < 1) await setImmediate();
        tty.resize(120, 50);
        while (sizes.length < 2) await setImmediate();
        keys.write("\u0003x");
        stdin.once("data", (data) => stdout.write(`${JSON.stringify(String(data))} ${sizes.join(" ")}`));
        while (tty.out() === "") await setImmediate();
        return success;
      },
    });
    const { code, err } = await fake.keelctlWith(tty.io, "exec", "-it", "-r", transport, "abc", "sh");
    assert.deepEqual(
      { code, err, out: tty.out() },
      { code: 0, err: "", out: '"\\u0003x" {"Width":101,"Height":33} {"Width":120,"Height":50}' },
    );
    assert.deepEqual(tty.modes, [true, false]);
    assert.ok(keys.destroyed);
    assert.equal((fake.calls[0]!.request as { stderr: boolean }).stderr, false);
  });

  test(`${transport}: the terminal is restored when the connection is lost, and when a signal ends keelctl`, async (t) => {
    const lost = terminal(new PassThrough());
    const dropping = await startStreams(t, {
      command: async ({ drop, sizes }) => {
        while (sizes.length < 1) await setImmediate();
        drop();
        return "";
      },
    });
    const outcome = await dropping.keelctlWith(lost.io, "exec", "-it", "-r", transport, "abc", "sh");
    assert.equal(outcome.code, 1);
    assert.match(outcome.err, /run sh in container abc: .*connection/);
    assert.doesNotMatch(outcome.err, /token/);
    assert.deepEqual(lost.modes, [true, false]);

    const interrupt = new AbortController();
    const waiting = await startStreams(t, {
      command: async ({ sizes }) => {
        while (sizes.length < 1) await setImmediate();
        interrupt.abort(new Interrupt(143));
        return new Promise(() => {});
      },
    });
    const killed = terminal(new PassThrough());
    assert.deepEqual(
      await waiting.keelctlWith(
        { ...killed.io, signal: interrupt.signal },
        "exec",
        "-it",
        "-r",
        transport,
        "abc",
        "sh",
      ),
      { code: 143, out: "", err: "keelctl: interrupted\n" },
    );
    assert.deepEqual(killed.modes, [true, false]);
  });

  test(`${transport}: a reader that stalls holds up the command`, async (t) => {
    const count = { passed: 0, before: -1 };
    const room = Promise.withResolvers<void>();
    let read = 0;
    const fake = await startStreams(t, {
      command: async ({ stdout }) => {
        for (let i = 0; i < 2000; i += 1) {
          await new Promise((resolve) => stdout.write(Buffer.alloc(32_768), resolve));
          count.passed += 32_768;
        }
        return success;
      },
    });
    const stdout: Output = {
      isTerminal: false,
      columns: 80,
      rows: 24,
      onResize: () => assert.fail(),
      write: async (data) => (await room.promise, void (read += data.length)),
    };
    const ended = fake.keelctlWith({ stdout }, "exec", "-r", transport, "abc", "cat");
    while (count.passed === 0 || count.passed !== count.before) {
      count.before = count.passed;
      for (let i = 0; i < 300; i += 1) await setImmediate();
    }
    assert.ok(count.passed < 30_000_000, `${count.passed} bytes went out though nobody read`);
    room.resolve();
    assert.equal((await ended).code, 0);
    assert.equal(read, 2000 * 32_768);
  });

  test(`${transport}: an interrupt ends keelctl even if nobody reads its output`, async (t) => {
    const interrupt = new AbortController();
    const fake = await startStreams(t, { command: async ({ stdout }) => (stdout.write("x"), new Promise(() => {})) });
    const stdout: Output = {
      isTerminal: false,
      columns: 80,
      rows: 24,
      onResize: () => assert.fail(),
      write: () => (interrupt.abort(new Interrupt(143)), new Promise(() => {})),
    };
    assert.deepEqual(
      await fake.keelctlWith({ stdout, signal: interrupt.signal }, "exec", "-r", transport, "abc", "yes"),
      { code: 143, out: "", err: "keelctl: interrupted\n" },
    );
  });

  test(`${transport}: attach exits with the container's exit code; the keys detach and are not typed`, async (t) => {
    const typed: string[] = [];
    const keys = new PassThrough();
    const tty = terminal(keys);
    let isFirst = true;
    const fake = await startStreams(t, {
      command: async ({ stdin }) => {
        if (!isFirst) return success;
        isFirst = false;
        stdin.on("data", (data) => typed.push(String(data)));
        keys.write("a\u0010");
        keys.write("b\u0010\u0010");
        await setImmediate();
        keys.write("\u0011c");
        return new Promise(() => {});
      },
    });
    fake.containers = [ContainerStatus.fromPartial({ id: "abc", state: ContainerState.CONTAINER_EXITED, exitCode: 5 })];
    const { code, err } = await fake.keelctlWith(tty.io, "attach", "-it", "-r", transport, "abc");
    assert.deepEqual({ code, err }, { code: 0, err: "keelctl: detached from container abc\n" });
    while (typed.join("") !== "a\u0010b\u0010") await setImmediate();
    assert.deepEqual(tty.modes, [true, false]);
    assert.equal((await fake.keelctl("attach", "-r", transport, "abc")).code, 5);
  });

  test(`${transport}: an error about the URL does not show its token`, async (t) => {
    const closed = await startFakeRuntime(t, { exec: () => Promise.resolve({ url: "http://127.0.0.1:1/exec/token" }) });
    const { err } = await closed.keelctl("exec", "-r", transport, "abc", "ls");
    assert.match(err, /run ls in container abc: connect to http:\/\/127\.0\.0\.1:1.*ECONNREFUSED/);
    assert.doesNotMatch(err, /token/);
    const wrong = await startFakeRuntime(t, { exec: () => Promise.resolve({ url: "ftp://x/token" }) });
    assert.match((await wrong.keelctl("exec", "-r", transport, "abc", "ls")).err, /no http URL/);
  });
}

test("a v4 WebSocket has no message for the end of stdin, and a note says so", async (t) => {
  const fake = await startStreams(t, {
    webSocketProtocols: ["v4.channel.k8s.io"],
    command: async ({ stdin }) => (stdin.resume(), success),
  });
  const { code, err } = await fake.keelctlWith(
    piped(Readable.from(["x"])),
    "exec",
    "-i",
    "-r",
    "websocket",
    "abc",
    "cat",
  );
  assert.equal(code, 0);
  assert.match(err, /the command does not see the end of stdin; use --transport spdy/);
});

test("a server without the subprotocols is reported as such", async (t) => {
  const fake = await startStreams(t, { webSocketProtocols: ["v9"] });
  assert.match((await fake.keelctl("exec", "-r", "websocket", "abc", "ls")).err, /use --transport spdy/);
});

test("exec in several containers: one after the other with their ids, no -i", async (t) => {
  const fake = await startStreams(t, { command: async ({ stdout }) => (stdout.write("x\n"), exited(2)) });
  fake.containers = ["one", "two"].map((id) =>
    ContainerStatus.fromPartial({ id, metadata: { name: "web" }, state: ContainerState.CONTAINER_RUNNING }),
  );
  assert.deepEqual(await fake.keelctl("exec", "--name", "web", "ls"), { code: 2, out: "one:\nx\ntwo:\nx\n", err: "" });
  assert.deepEqual(await fake.keelctl("exec", "-x", "-e", "--name", "web", "ls"), { code: 0, out: "x\nx\n", err: "" });
  assert.match(
    (await fake.keelctl("exec", "-i", "--name", "web", "ls")).err,
    /choose 2 containers; -i and -t are for one/,
  );
});

test("exec: flags that exclude each other", async () => {
  const run = async (...args: string[]) => (await runWith({ env: { CRI_CONFIG_FILE: "/dev/null" } }, args)).err;
  assert.match(await run("exec", "-s", "-i", "abc", "ls"), /-s has no streams/);
  assert.match(await run("exec", "--timeout", "3", "abc", "ls"), /--timeout is for -s/);
  assert.match(await run("exec", "-r", "quic", "abc", "ls"), /must be spdy or websocket/);
  assert.match(await run("attach", "-t", "--detach-keys", "ctrl-", "abc"), /--detach-keys ctrl-: must be/);
});

test("exit statuses: from v4 and v5, from older servers, and of what was not run", () => {
  assert.deepEqual(parseExitStatus(success), { exitCode: 0, message: undefined });
  assert.deepEqual(parseExitStatus(exited(9)), { exitCode: 9, message: undefined });
  assert.deepEqual(parseExitStatus(exited(127, "command terminated with exit code 127: nosuch: not found")), {
    exitCode: 127,
    message: "nosuch: not found",
  });
  assert.deepEqual(parseExitStatus(""), { exitCode: 0, message: undefined });
  assert.deepEqual(parseExitStatus("command terminated with exit code 3"), { exitCode: 3, message: undefined });
  assert.throws(
    () => parseExitStatus('{"status":"Failure","message":"Internal error occurred: gone"}'),
    /Internal error occurred: gone/,
  );
  for (const text of [
    "broken",
    "{}",
    "[1]",
    "null",
    '{"status":"Failure","details":{"causes":[null,{"reason":"ExitCode","message":"999"}]}}',
  ])
    assert.throws(() => parseExitStatus(text), /./, text);
});

test("detach keys are found in several pieces, and what only resembles them is passed on", () => {
  const scanner = new DetachScanner(parseDetachKeys("ctrl-p,ctrl-q"));
  const scan = (input: string) => {
    const { passed, isDetached } = scanner.scan(Buffer.from(input));
    return [Buffer.from(passed).toString(), isDetached];
  };
  assert.deepEqual(scan("ls\n"), ["ls\n", false]);
  assert.deepEqual(scan("\u0010"), ["", false]);
  assert.deepEqual(scan("\u0010"), ["\u0010", false]);
  assert.deepEqual(scan("x"), ["\u0010x", false]);
  assert.deepEqual(scan("\u0010\u0011rest"), ["", true]);
  assert.deepEqual([...parseDetachKeys("ctrl-a,d,ctrl-[")], [1, 100, 27]);
  assert.equal(parseDetachKeys("none").length, 0);
  assert.throws(() => parseDetachKeys("ctrl-pp"), /must be single characters/);
});
