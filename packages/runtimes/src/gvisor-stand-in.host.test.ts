// The stand-in for a container in a gVisor sandbox, below a real conmon; runsc and the sandbox are played.
import assert from "node:assert/strict";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { gvisorStandInProgram, standInEnded } from "@keelson/linux/gvisor-stand-in.ts";
import { signalProcess } from "@keelson/linux/process.ts";
import { readStat } from "@keelson/linux/procfs.ts";
import { run, type RunResult } from "@keelson/linux/run.ts";
import { logSoFar } from "@keelson/testkit/cri-log.ts";
import { waitFor } from "@keelson/testkit/wait.ts";
import { Conmon, pidFile } from "./conmon.ts";
import { findBinary } from "./find-program.ts";
import { readPid } from "./pid-file.ts";
import type { RunningProcesses, RuntimeContainer } from "./runtime.ts";

const conmon = findBinary("conmon");
const skip = conmon === undefined ? "conmon is not installed" : false;

/** It takes its answers from files in the bundle and records its calls in `calls`. Its `start` writes to its own stdout, as the container would. */
const runsc = `#!/bin/sh
echo "$*" >> calls
case " $* " in
*" create "*) echo $PPID > sandbox-pid; exit "$(cat create-code)" ;;
*" start "*) echo "output of start"; exit "$(cat start-code)" ;;
*" wait "*) cat wait-answer ;;
esac
`;

interface Played {
  /** What the sandbox does when it is asked to report the container's end. */
  readonly answer?: (peer: Socket) => void;
  readonly createCode?: number;
  readonly startCode?: number;
  /** What `runsc wait` prints. */
  readonly waitAnswer?: string;
}

class Bench {
  readonly #dir = mkdtempSync(join(tmpdir(), "keelson-stand-in-"));
  readonly #conmon = new Conmon(conmon!, join(this.#dir, "exits"));
  readonly #peers = new Set<Socket>();
  readonly container: RuntimeContainer;
  readonly asked: string[] = [];
  processes: RunningProcesses | undefined;

  constructor(t: TestContext, { answer = () => {}, createCode = 0, startCode = 0, waitAnswer = "" }: Played = {}) {
    const bundleDir = join(this.#dir, "bundle");
    this.container = {
      id: "the-container",
      sandboxId: "pod",
      bundleDir,
      cgroupPath: "/c",
      logPath: join(this.#dir, "log"),
      tty: false,
      stdin: false,
      stdinOnce: false,
    };
    mkdirSync(bundleDir);
    this.answerWith({ "create-code": createCode, "start-code": startCode, "wait-answer": waitAnswer });
    writeFileSync(join(this.#dir, "runsc"), runsc);
    chmodSync(join(this.#dir, "runsc"), 0o755);
    const server = createServer((peer) => {
      this.#peers.add(peer.on("error", () => {}));
      peer.on("data", (bytes) => (this.asked.push(bytes.toString()), answer(peer)));
    }).listen(this.#socket);
    t.after(async () => {
      this.endSandbox();
      server.close();
      await this.#conmon.forget(this.container);
      rmSync(this.#dir, { recursive: true });
    });
  }

  get #socket(): string {
    return join(this.#dir, "runsc-pod.sock");
  }

  answerWith(files: Record<string, string | number>): void {
    for (const [name, content] of Object.entries(files))
      writeFileSync(join(this.container.bundleDir, name), String(content));
  }

  async create(socket = this.#socket): Promise<void> {
    const env = { KEELSON_RUNSC: join(this.#dir, "runsc"), KEELSON_SANDBOX_SOCKET: socket };
    this.processes = await this.#conmon.create(
      this.container,
      { path: gvisorStandInProgram(), args: ["--root=/r", "--platform=p"], env, systemdCgroup: false },
      AbortSignal.timeout(10_000),
    );
  }

  start(): Promise<RunResult> {
    return run({ file: gvisorStandInProgram(), args: ["start", this.container.bundleDir], timeoutMs: 10_000 });
  }

  endSandbox(): void {
    for (const peer of this.#peers) peer.destroy();
  }

  async exitCode(): Promise<number> {
    await waitFor(() => this.#conmon.hasEnded(this.processes!));
    return this.#conmon.exitOf(this.container)!.exitCode;
  }

  get calls(): string[] {
    return readFileSync(join(this.container.bundleDir, "calls"), "utf8").trim().split("\n");
  }
}

const result = (status: number) => (peer: Socket) => void peer.write(`{"success":true,"err":"","result":${status}}`);

test(
  "it has runsc create the container, and waits to be started, with the container's streams",
  { skip },
  async (t) => {
    const bench = new Bench(t, { answer: result(0) });
    await bench.create();
    const { bundleDir, logPath } = bench.container;
    assert.equal(readStat(readPid(pidFile(bundleDir))!)?.name, "gvisor-stand-in");
    assert.deepEqual(bench.calls, [
      `--root=/r --platform=p create --bundle ${bundleDir} --pid-file sandbox-pid the-container`,
    ]);
    assert.deepEqual(bench.asked, []);
    const { code, stdout } = await bench.start();
    assert.deepEqual([code, stdout.toString()], [0, ""]);
    assert.ok(!existsSync(join(bundleDir, "start")), "a started container is not started again");
    assert.equal((await bench.start()).code, standInEnded);
    assert.equal(await bench.exitCode(), 0);
    assert.deepEqual(bench.calls.slice(1), ["--root=/r --platform=p --log=start.log start the-container"]);
    assert.deepEqual(bench.asked, ['{"method":"containerManager.Wait","arg":"the-container"}']);
    assert.deepEqual(
      logSoFar(logPath).map(({ text }) => text),
      ["output of start"],
    );
  },
);

test("it ends as the container does, with an exit code or by a signal", { skip }, async (t) => {
  const statuses = [
    [0x0700, 7],
    [0xff00, 255],
    [9, 137],
    [0x80 | 11, 139],
  ] as const;
  for (const [status, code] of statuses) {
    const bench = new Bench(t, { answer: result(status) });
    await bench.create();
    await bench.start();
    assert.equal(await bench.exitCode(), code);
  }
});

test("an answer may come in pieces", { skip }, async (t) => {
  const pieces = (peer: Socket) => {
    for (const [i, piece] of ['{"success":tr', 'ue,"err":"","result":1', "7", "92}"].entries())
      setTimeout(() => peer.write(piece), 30 * i);
  };
  const bench = new Bench(t, { answer: pieces });
  await bench.create();
  await bench.start();
  assert.equal(await bench.exitCode(), 1792 >> 8);
});

test("when the sandbox does not understand or cannot be reached, runsc wait is asked instead", { skip }, async (t) => {
  const refusals: ((peer: Socket) => void)[] = [
    (peer) => peer.write('{"success":false,"err":"unknown method","result":null}'),
    (peer) => peer.write('{"success":true,"err":"","result":null}'),
    (peer) => peer.write("x".repeat(5000)),
  ];
  for (const answer of refusals) {
    const bench = new Bench(t, { answer, waitAnswer: '{"id":"the-container","exitStatus":42}\n' });
    await bench.create();
    await bench.start();
    assert.equal(await bench.exitCode(), 42);
    assert.equal(bench.calls.at(-1), "--root=/r --platform=p wait the-container");
  }
  const bench = new Bench(t, { waitAnswer: '{"id":"the-container","exitStatus":43}\n' });
  await bench.create("/no/such/socket");
  await bench.start();
  assert.equal(await bench.exitCode(), 43);
});

test("when the sandbox is gone, its containers count as killed, started or not", { skip }, async (t) => {
  for (const isStarted of [false, true]) {
    const bench = new Bench(t);
    await bench.create();
    if (isStarted) await bench.start();
    if (isStarted) await waitFor(() => bench.asked.length === 1);
    bench.endSandbox();
    assert.equal(await bench.exitCode(), 137);
  }
});

test("a create that fails leaves no process; a start that fails may be repeated", { skip }, async (t) => {
  const refused = new Bench(t, { createCode: 128 });
  await assert.rejects(refused.create());
  assert.equal(readPid(pidFile(refused.container.bundleDir)), undefined);
  const bench = new Bench(t, { startCode: 77, answer: result(0) });
  await bench.create();
  assert.equal((await bench.start()).code, 77);
  bench.answerWith({ "start-code": 0 });
  assert.equal((await bench.start()).code, 0);
  assert.equal(await bench.exitCode(), 0);
});

test("while it waits to be started, a kill ends it", { skip }, async (t) => {
  const bench = new Bench(t);
  await bench.create();
  const pid = readPid(pidFile(bench.container.bundleDir))!;
  signalProcess(pid, readStat(pid)!.startTicks, 9);
  assert.equal(await bench.exitCode(), 137);
});
