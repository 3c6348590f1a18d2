import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, StatusError } from "@keelson/base/status.ts";
import { runcOptions } from "./any.ts";
import { type Command, type CommandResult, deleteWithShim, type RunCommand, startShim } from "./commands.ts";
import { Options } from "./gen/containerd/runc/v1/options.ts";
import { DeleteResponse } from "./gen/containerd/task/v2/task.ts";
import { Any } from "./gen/google/protobuf/known.ts";

const program = {
  file: "/opt/containerd-shim-x-v2",
  namespace: "keelson",
  address: "/run/k/k.sock",
  eventsPath: "/run/k/events.sock",
  publishBinary: "/bin/true",
  env: { PATH: "/bin" },
};
const bundle = { id: "c1", dir: "/run/k/c1" };
const limits = { timeoutMs: 5000, signal: new AbortController().signal };

function hasCode(code: number, message: RegExp) {
  return (e: unknown) => e instanceof StatusError && e.code === code && message.test(e.message);
}

function answering(result: Partial<CommandResult>): { run: RunCommand; commands: Command[] } {
  const commands: Command[] = [];
  const run: RunCommand = async (command) => {
    commands.push(command);
    return { code: 0, stdout: Buffer.alloc(0), stderr: Buffer.alloc(0), ...result };
  };
  return { run, commands };
}

test("start gets its flags, environment, working directory and options", async () => {
  const { run, commands } = answering({ stdout: Buffer.from("unix:///run/s/1\n") });
  assert.deepEqual(await startShim({ run, program, bundle }, runcOptions({ binaryName: "crun" }), limits), {
    version: 2,
    address: "unix:///run/s/1",
  });
  const [command] = commands;
  assert.equal(command?.file, program.file);
  assert.deepEqual(command.args, [
    "-namespace",
    "keelson",
    "-address",
    "/run/k/k.sock",
    "-publish-binary",
    "/bin/true",
    "-id",
    "c1",
    "start",
  ]);
  assert.deepEqual(command.env, {
    PATH: "/bin",
    TTRPC_ADDRESS: "/run/k/events.sock",
    GRPC_ADDRESS: "/run/k/k.sock",
    NAMESPACE: "keelson",
    MAX_SHIM_VERSION: "3",
    GOMAXPROCS: "2",
  });
  assert.deepEqual([command.cwd, command.timeoutMs], ["/run/k/c1", 5000]);
  const options = Any.decode(command.stdin);
  assert.equal(options.typeUrl, "containerd.runc.v1.Options");
  assert.equal(Options.decode(options.value).binaryName, "crun");
});

test("delete gets the bundle, and says how the container ended", async () => {
  const { run, commands } = answering({
    stdout: Buffer.from(DeleteResponse.encode(DeleteResponse.fromPartial({ pid: 7, exitStatus: 137 })).finish()),
  });
  const { pid, exitStatus } = await deleteWithShim({ run, program, bundle }, limits);
  assert.deepEqual([pid, exitStatus], [7, 137]);
  assert.deepEqual(commands[0]?.args.slice(-5), ["-id", "c1", "-bundle", "/run/k/c1", "delete"]);
  const { run: garbage } = answering({ stdout: Buffer.from("0aff", "hex") });
  await assert.rejects(
    deleteWithShim({ run: garbage, program, bundle }, limits),
    hasCode(Code.Internal, /clean up with the shim .*: the shim's answer cannot be read/),
  );
});

test("the error of a command that fails has its own words, or says that it wrote nothing", async () => {
  const start = (result: Partial<CommandResult>) =>
    startShim({ run: answering(result).run, program, bundle }, undefined, limits);
  await assert.rejects(
    start({ code: 1, stderr: Buffer.from("no KVM here\n") }),
    hasCode(Code.Internal, /^start the shim \/opt\/containerd-shim-x-v2: no KVM here \(exit code 1\)$/),
  );
  await assert.rejects(
    start({ code: 2, stdout: Buffer.from("on the wrong stream") }),
    hasCode(Code.Internal, /on the wrong stream \(exit code 2\)/),
  );
  await assert.rejects(start({ code: null }), hasCode(Code.Internal, /says nothing \(a signal ended it\)/));
  await assert.rejects(
    start({ stdout: Buffer.from("hello?") }),
    hasCode(Code.Internal, /start the shim .*printed no address/),
  );
});

test("a command that hangs has the time that it was given, and no longer than its caller waits", async () => {
  const late: RunCommand = () => Promise.reject(new DOMException("took too long", "TimeoutError"));
  await assert.rejects(
    startShim({ run: late, program, bundle }, undefined, limits),
    hasCode(Code.DeadlineExceeded, /start the shim .*did not end within 5 s, and was killed/),
  );
  const aborted = AbortSignal.abort(new DOMException("gone", "AbortError"));
  const gone: RunCommand = () => Promise.reject(aborted.reason as Error);
  await assert.rejects(
    startShim({ run: gone, program, bundle }, undefined, { ...limits, signal: aborted }),
    hasCode(Code.Cancelled, /start the shim .*gone/),
  );
});
