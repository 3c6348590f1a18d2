import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  closeSync,
  constants,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite, test } from "node:test";
import { Code, codeOf, StatusError } from "@keelson/base/status.ts";
import { runtimeBinary, withoutRuntime } from "@keelson/testkit/runtime-binary.ts";
import { waitFor } from "@keelson/testkit/wait.ts";
import type { TtrpcClient } from "./client.ts";
import { connectTtrpc } from "./connect.ts";
import { FieldReader, FieldWriter } from "./protobuf.ts";
import type { Metadata } from "./request.ts";
import { TtrpcServer } from "./server.ts";

const shim = runtimeBinary("containerd-shim-runc-v2") ?? "";
const skip = withoutRuntime("containerd-shim-runc-v2");
const task = "containerd.task.v2.Task";
const namespace = "keelson-test";
const patience = () => AbortSignal.timeout(30_000);

/** The fields of a message by number, as far as these tests use the shim's messages. */
type Fields = Readonly<Record<number, string | number | Uint8Array>>;

function encode(fields: Fields): Buffer {
  const writer = new FieldWriter();
  for (const [field, value] of Object.entries(fields)) {
    if (typeof value === "number") writer.signed(Number(field), BigInt(value));
    else if (typeof value === "string") writer.text(Number(field), value);
    else writer.message(Number(field), value);
  }
  return writer.finish();
}

/** The strings and numbers of a message, without its nested messages. */
function decode(
  bytes: Buffer,
  textFields: readonly number[],
  messageFields: readonly number[] = [],
): Record<number, string | number> {
  const reader = new FieldReader(bytes, (what) => new Error(`the message ${what}`));
  const fields: Record<number, string | number> = {};
  for (let field = reader.next(); field !== undefined; field = reader.next()) {
    if (textFields.includes(field)) fields[field] = reader.text();
    else if (messageFields.includes(field)) reader.skip();
    else fields[field] = Number(reader.signed());
  }
  return fields;
}

interface ShimEvent {
  readonly topic: string;
  readonly metadata: Metadata;
}

interface Shim extends AsyncDisposable {
  readonly client: TtrpcClient;
  readonly bundle: string;
  readonly pid: number;
  readonly events: readonly ShimEvent[];
  readonly log: () => string;
  call(method: string, fields: Fields, options?: { timeoutMs?: number; signal?: AbortSignal }): Promise<Buffer>;
}

/** A shim, started as containerd does, in a bundle of its own, with a server for the events that it publishes. */
async function startShim(id: string): Promise<Shim> {
  await using undo = new AsyncDisposableStack();
  const dir = mkdtempSync(join(tmpdir(), "keelson-shim-"));
  undo.defer(() => rmSync(dir, { recursive: true }));
  const bundle = join(dir, id);
  mkdirSync(join(bundle, "rootfs/bin"), { recursive: true });
  for (const name of ["proc", "dev"]) mkdirSync(join(bundle, "rootfs", name));
  copyFileSync("/bin/busybox", join(bundle, "rootfs/bin/busybox"));
  writeFileSync(join(bundle, "config.json"), JSON.stringify(spec));
  // It replaces `containerd publish`, which a shim runs when there is no TTRPC_ADDRESS.
  const publish = join(dir, "publish");
  writeFileSync(publish, "#!/bin/sh\ncat >/dev/null\n");
  chmodSync(publish, 0o755);
  // The shim opens it for writing, and ends when it does not exist.
  execFileSync("mkfifo", [join(bundle, "log")]);
  const log = openSync(join(bundle, "log"), constants.O_RDWR | constants.O_NONBLOCK);
  undo.defer(() => closeSync(log));
  const events: ShimEvent[] = [];
  const server = await serveEvents(join(dir, "events"), events);
  undo.use(server);
  const address = execFileSync(
    shim,
    ["-namespace", namespace, "-id", id, "-address", join(dir, "none"), "-publish-binary", publish, "start"],
    {
      cwd: bundle,
      env: { PATH: process.env.PATH, TTRPC_ADDRESS: join(dir, "events") },
      input: "",
      encoding: "utf8",
      timeout: 30_000,
    },
  );
  const client = await connectTtrpc(address.trim(), {}, patience());
  undo.use(client);
  const call = async (method: string, fields: Fields, options: object = {}) =>
    await client.call(task, method, encode(fields), { timeoutMs: 30_000, ...options });
  const pid = Number(decode(await call("Connect", { 1: id }), [3])[1]);
  undo.defer(async () => {
    // First what a failed test has left; then the shim, which may answer or not, but must be gone in the end.
    const isThere = await call("Kill", { 1: id, 3: 9 }).then(
      () => true,
      () => false,
    );
    if (isThere) await call("Wait", { 1: id }).then(() => call("Delete", { 1: id }));
    await call("Shutdown", { 1: id, 2: 1 }).catch((error: unknown) => assert.equal(codeOf(error), Code.Unavailable));
    await waitFor(() => !existsSync(`/proc/${pid}`), { message: `shim ${pid} goes on after Shutdown` });
    rmSync(address.trim().slice("unix://".length), { force: true });
  });
  const done = undo.move();
  return {
    client,
    bundle,
    pid,
    events,
    log: () => readAll(log),
    call,
    [Symbol.asyncDispose]: () => done.disposeAsync(),
  };
}

async function serveEvents(path: string, events: ShimEvent[]): Promise<AsyncDisposable> {
  const server = new TtrpcServer({
    "containerd.services.events.ttrpc.v1.Events": {
      Forward: {
        form: "unary",
        handle: async (request, { metadata }) => {
          const envelope = new FieldReader(request, (what) => new Error(what));
          envelope.next();
          events.push({ topic: String(decode(envelope.bytes(), [2, 3], [1, 4])[3]), metadata });
          return Buffer.alloc(0);
        },
      },
    },
  });
  const listener = createServer((socket) => void server.accept(socket)).listen(path);
  await once(listener, "listening");
  return {
    async [Symbol.asyncDispose]() {
      listener.close();
      await server.close(1000);
    },
  };
}

function readAll(fd: number): string {
  const bytes = Buffer.alloc(65536);
  try {
    return bytes.toString("utf8", 0, readSync(fd, bytes));
  } catch {
    return "";
  }
}

const spec = {
  ociVersion: "1.0.2",
  process: { user: { uid: 0, gid: 0 }, args: ["/bin/busybox", "sleep", "600"], env: ["PATH=/bin"], cwd: "/" },
  root: { path: "rootfs" },
  mounts: [{ destination: "/proc", type: "proc", source: "proc" }],
  linux: { namespaces: [{ type: "pid" }, { type: "mount" }, { type: "ipc" }, { type: "uts" }, { type: "network" }] },
};

suite("with containerd's shim", { skip, concurrency: false }, () => {
  test("it says who it is, and its errors have their codes", async () => {
    await using shim = await startShim("asked");
    assert.match(readFileSync(`/proc/${shim.pid}/cmdline`, "utf8"), /^\S*\/containerd-shim-runc-v2\0/);
    for (const method of ["State", "Start", "Kill", "Delete", "Wait"]) {
      await assert.rejects(
        shim.call(method, { 1: "nobody" }),
        (e: unknown) => e instanceof StatusError && e.code === Code.NotFound,
        method,
      );
    }
    await assert.rejects(
      shim.call("Nope", {}),
      (e: unknown) => e instanceof StatusError && e.code === Code.Unimplemented && /Nope/.test(e.message),
    );
    await assert.rejects(
      shim.client.call("Nope", "Nope", Buffer.alloc(0)),
      (e: unknown) => e instanceof StatusError && e.code === Code.Unimplemented,
    );
    await assert.rejects(
      shim.client.call(task, "State", Buffer.from("08", "hex")),
      (e: unknown) => e instanceof StatusError,
    );
    assert.equal(shim.client.callsUnderWay, 0);
  });

  for (const binary of ["runc", "crun"]) {
    test(`a container of ${binary} is created, started, waited for and deleted, and its events come to our server`, async () => {
      const id = `life-${binary}`;
      await using shim = await startShim(id);
      const state = async () => decode(await shim.call("State", { 1: id }), [1, 2, 5, 6, 7, 11], [10]);
      const options = encode({ 1: "containerd.runc.v1.Options", 2: encode({ 6: binary }) });
      const created = decode(await shim.call("Create", { 1: id, 2: shim.bundle, 10: options }), []);
      assert.deepEqual(await state(), { 1: id, 2: shim.bundle, 3: created[1], 4: 1 });

      const exited = shim.call("Wait", { 1: id });
      assert.deepEqual(decode(await shim.call("Start", { 1: id }), []), { 1: created[1] });
      const [states] = await Promise.all([
        Promise.all(Array.from({ length: 50 }, state)),
        assert.rejects(
          shim.call("Wait", { 1: id }, { timeoutMs: 200 }),
          (e: unknown) => codeOf(e) === Code.DeadlineExceeded,
        ),
      ]);
      assert.ok(
        states.every((fields) => fields[4] === 2),
        JSON.stringify(states[0]),
      );
      // When Start returns, the process may still be the runtime.
      await waitFor(() => /sleep/.test(readFileSync(`/proc/${created[1]}/cmdline`, "utf8")));

      await shim.call("Kill", { 1: id, 3: 9 });
      assert.equal(decode(await exited, [], [2])[1], 137);
      const deleted = decode(await shim.call("Delete", { 1: id }), [], [3]);
      assert.deepEqual([deleted[1], deleted[2]], [created[1], 137]);
      await assert.rejects(state(), (e: unknown) => e instanceof StatusError && e.code === Code.NotFound);

      const topics = ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"];
      await waitFor(() => topics.every((topic) => shim.events.some((event) => event.topic === topic)), {
        message: () => `events ${JSON.stringify(shim.events)}; the shim's log: ${shim.log()}`,
      });
      assert.deepEqual(
        [...new Set(shim.events.flatMap(({ metadata }) => metadata.get("containerd-namespace-ttrpc") ?? []))],
        [namespace],
      );
    });
  }

  test("a call to a shim that hangs ends by its timeout; when the shim is killed, pending calls fail with the reason", async () => {
    await using shim = await startShim("killed");
    process.kill(shim.pid, "SIGSTOP");
    // Each thread stops by itself, a moment later.
    const isStopped = (thread: string) =>
      / \(.*\) T /.test(readFileSync(`/proc/${shim.pid}/task/${thread}/stat`, "utf8"));
    await waitFor(() => readdirSync(`/proc/${shim.pid}/task`).every(isStopped));
    const waiting = shim.call("State", { 1: "killed" });
    await assert.rejects(
      shim.call("State", { 1: "killed" }, { timeoutMs: 100 }),
      (e: unknown) => codeOf(e) === Code.DeadlineExceeded,
    );
    process.kill(shim.pid, "SIGKILL");
    await assert.rejects(
      waiting,
      (e: unknown) =>
        e instanceof StatusError &&
        e.code === Code.Unavailable &&
        /Task\/State: ttrpc: the (peer closed the connection|connection broke)/.test(e.message),
    );
    assert.equal((await shim.client.closed)?.code, Code.Unavailable);
  });
});
