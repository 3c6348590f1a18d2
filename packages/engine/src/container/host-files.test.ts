import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { Code, StatusError } from "@keelson/base/status.ts";
import { BeneathLooker } from "@keelson/linux/look-beneath.ts";
import type { ResolvedPath } from "@keelson/linux/resolve-paths.ts";
import type { ContainerPlan } from "@keelson/plan/container-plan.ts";
import { type FileLooker, findHostFiles } from "./host-files.ts";

const noSignal = new AbortController().signal;

/** Finds the host's files with a machine whose paths have all answered when they were looked up. */
function find(
  { devices = [], profile }: { devices?: string[]; profile?: string },
  {
    allDevices = false,
    timeoutMs = 10_000,
    signal = noSignal,
    looker = (s: AbortSignal): FileLooker => new BeneathLooker(s),
  } = {},
) {
  const resolveHostPaths = (paths: readonly string[]): Promise<ResolvedPath[]> =>
    Promise.resolve(paths.map((path) => ({ path, isDirectory: false })));
  const plan = {
    devices: devices.map((hostPath) => ({ hostPath, containerPath: "/dev/x", permissions: "rw" })),
    seccomp: profile === undefined ? { is: "unconfined" } : { is: "localhost", path: profile },
  } as unknown as Pick<ContainerPlan, "devices" | "seccomp">;
  const d = { containerHost: { resolveHostPaths, lookAtFiles: looker } } as unknown as Parameters<
    typeof findHostFiles
  >[0];
  return findHostFiles(d, plan, allDevices, signal, timeoutMs);
}

function temporary(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), "keelson-host-files-"));
  t.after(() => rmSync(dir, { recursive: true }));
  return dir;
}

const invalid = (message: RegExp) => (error: unknown) =>
  error instanceof StatusError && error.code === Code.InvalidArgument && message.test(error.message);

test("a device node is found through links, with its numbers, mode and owner", async (t) => {
  const dir = temporary(t);
  symlinkSync("/dev/null", join(dir, "link"));
  const { devices, hostDevices } = await find({ devices: ["/dev/zero", join(dir, "link")] });
  assert.deepEqual(
    devices.map(({ path, type, major, minor, permissions }) => [path, type, major, minor, permissions]),
    [
      ["/dev/x", "c", 1, 5, "rw"],
      ["/dev/x", "c", 1, 3, "rw"],
    ],
  );
  assert.deepEqual([devices[0]!.fileMode, devices[0]!.uid, devices[0]!.gid], [0o666, 0, 0]);
  assert.deepEqual(hostDevices, []);
});

test("all devices are those of /dev, without what a container has of its own", async () => {
  const { hostDevices } = await find({}, { allDevices: true });
  for (const own of ["/dev/null", "/dev/tty", "/dev/pts/0", "/dev/ptmx"])
    assert.ok(!hostDevices.some(({ path }) => path === own), own);
  assert.ok(hostDevices.every(({ path, type }) => path.startsWith("/dev/") && (type === "c" || type === "b")));
});

test("a directory without devices has none, and what it has links to is left out", async (t) => {
  const dir = temporary(t);
  mkdirSync(join(dir, "a/b"), { recursive: true });
  writeFileSync(join(dir, "a/file"), "");
  symlinkSync("/dev/null", join(dir, "a/null"));
  symlinkSync("/dev", join(dir, "a/dev"));
  assert.deepEqual((await find({ devices: [dir] })).devices, []);
});

test("what is no device, what is missing, and what the kernel makes up are refused by name", async (t) => {
  const dir = temporary(t);
  writeFileSync(join(dir, "file"), "");
  await assert.rejects(find({ devices: [join(dir, "file")] }), invalid(/^device .*file is neither a device node nor/));
  await assert.rejects(find({ devices: [join(dir, "none")] }), invalid(/^device .*none: .*\(ENOENT\)/));
  await assert.rejects(find({ devices: ["/proc/self/fd/0"] }), invalid(/^device \/proc\/self\/fd\/0: .*\(ELOOP\)/));
});

test("a seccomp profile is read whole; one that is missing, too large or no file is refused by name", async (t) => {
  const dir = temporary(t);
  const path = join(dir, "profile.json");
  const names = Array.from({ length: 20_000 }, (_, i) => `call_${i}`);
  const profile = { defaultAction: "SCMP_ACT_ERRNO", syscalls: [{ names, action: "SCMP_ACT_ALLOW" }] };
  writeFileSync(path, JSON.stringify(profile));
  assert.deepEqual((await find({ profile: path })).localhostSeccomp, profile);
  await assert.rejects(find({ profile: join(dir, "none") }), invalid(/^seccomp profile .*none: .*\(ENOENT\)/));
  execFileSync("mkfifo", [join(dir, "fifo")]);
  await assert.rejects(find({ profile: join(dir, "fifo") }), invalid(/^seccomp profile .*fifo: .*\(EINVAL\)/));
  writeFileSync(path, " ".repeat(1024 * 1024 + 1));
  await assert.rejects(find({ profile: path }), invalid(/has more than 1048576 bytes/));
});

test("a file system that dies after its path was found ends the call with its name, and the looker is given up", async () => {
  const gaveUp: boolean[] = [];
  const looker = (signal: AbortSignal): FileLooker => {
    const never = () =>
      new Promise<never>((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
    return { look: never, read: never, list: never, [Symbol.dispose]: () => void gaveUp.push(true) };
  };
  const isLate = (error: unknown) =>
    error instanceof StatusError &&
    error.code === Code.DeadlineExceeded &&
    /\/nfs\/x did not answer.*server is gone/.test(error.message);
  await assert.rejects(find({ devices: ["/nfs/x"] }, { looker, timeoutMs: 10 }), isLate);
  await assert.rejects(find({ profile: "/nfs/x" }, { looker, timeoutMs: 10 }), isLate);
  const client = new AbortController();
  const left = find({ devices: ["/nfs/x"] }, { looker, signal: client.signal });
  setImmediate(() => client.abort(new Error("the client went away")));
  await assert.rejects(left, /went away/);
  assert.equal(gaveUp.length, 3);
});
