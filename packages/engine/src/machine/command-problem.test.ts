import assert from "node:assert/strict";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { BeneathLooker } from "@keelson/linux/look-beneath.ts";
import type { MountSpec, Spec } from "@keelson/oci/runtime-spec/spec.ts";
import { commandProblem } from "./command-problem.ts";

interface Options {
  arch?: string;
  otherFormats?: boolean;
  uid?: number;
  cwd?: string;
  mounts?: MountSpec[];
}

const amd64 = 62;
const arm64 = 183;

/** An ELF header for a machine; with a loader, also a program header that names it (elf(5)). */
function elf(machine: number, loader?: string): Buffer {
  const bytes = Buffer.alloc(256);
  bytes.write("\x7fELF\x02\x01\x01", "latin1");
  bytes.writeUInt16LE(machine, 18);
  bytes.writeBigUInt64LE(64n, 32);
  bytes.writeUInt16LE(56, 54);
  if (loader === undefined) return bytes;
  bytes.writeUInt16LE(1, 56);
  bytes.writeUInt32LE(3, 64);
  bytes.writeBigUInt64LE(120n, 64 + 8);
  bytes.writeBigUInt64LE(BigInt(loader.length + 1), 64 + 32);
  bytes.write(loader, 120);
  return bytes;
}

/** A root file system with a program /bin/sh and what a test adds; `problem` checks a command in it. */
function container(t: TestContext, files: Record<string, string | Buffer>) {
  const dir = mkdtempSync(join(tmpdir(), "keelson-command-"));
  t.after(() => rmSync(dir, { recursive: true }));
  const root = join(dir, "root");
  mkdirSync(join(root, "bin"), { recursive: true });
  for (const [path, content] of Object.entries({ "bin/sh": elf(amd64), ...files }))
    writeFileSync(join(root, path), content, { mode: 0o755 });
  const looker = new BeneathLooker(new AbortController().signal);
  t.after(() => looker[Symbol.dispose]());
  const problem = (command: string, o: Options = {}) => {
    const process: Spec["process"] = {
      cwd: o.cwd ?? "/",
      args: [command],
      env: ["PATH=/usr/bin:/bin"],
      user: { uid: o.uid ?? 0, gid: o.uid ?? 0 },
    };
    return commandProblem(
      looker,
      { ociVersion: "1.0.2", process, root: { path: root }, mounts: o.mounts ?? [] },
      o.arch ?? "x64",
      o.otherFormats ?? false,
    );
  };
  return { dir, root, problem };
}

test("a program and a script with its interpreter have no problem, found by path, by PATH and from the working directory", async (t) => {
  const { root, problem } = container(t, {
    "bin/script": "#!/bin/sh -e\n",
    "bin/env-script": "#! /bin/sh",
    "bin/dynamic": elf(amd64, "/bin/ld.so"),
    "bin/ld.so": elf(amd64),
    "bin/i386": elf(3),
  });
  symlinkSync("/bin", join(root, "tools"));
  for (const command of ["/bin/sh", "sh", "script", "/bin/env-script", "dynamic", "i386", "/tools/sh", "./bin/sh"])
    assert.equal(await problem(command), undefined, command);
  assert.equal(await problem("./sh", { cwd: "/bin" }), undefined);
});

test("a command that does not exist is 127 and names what was looked up", async (t) => {
  const { problem } = container(t, {});
  assert.deepEqual(await problem("/no/such"), {
    exitCode: 127,
    message:
      'the command "/no/such" does not exist: the container has no file "/no/such"; check its spelling, or use an image that has it',
  });
  assert.deepEqual(await problem("nosuch"), {
    exitCode: 127,
    message:
      'the command "nosuch" is in none of the directories of the container\'s PATH ("/usr/bin:/bin"); write its full path, or use an image that has it',
  });
  assert.match((await problem("./x", { cwd: "/srv" }))!.message, /no file "\/srv\/\.\/x"/);
  assert.equal((await problem("/bin/sh/x"))?.exitCode, 127);
});

test("a directory and a file that may not be executed are 126", async (t) => {
  const { root, problem } = container(t, { "bin/data": "#!/bin/sh\n", "bin/mine": elf(amd64) });
  chmodSync(join(root, "bin/data"), 0o644);
  chmodSync(join(root, "bin/mine"), 0o700);
  assert.match((await problem("/bin"))!.message, /^the command "\/bin" is a directory/);
  assert.match(
    (await problem("data"))!.message,
    /^the command "data" may not be executed by user 0: its mode is 0644; .*chmod \+x/,
  );
  assert.equal(await problem("mine"), undefined);
  assert.deepEqual(
    [
      (await problem("/bin"))!.exitCode,
      (await problem("data"))!.exitCode,
      (await problem("mine", { uid: 12_345 }))!.exitCode,
    ],
    [126, 126, 126],
  );
});

test("a missing interpreter or dynamic loader is 127 and is named", async (t) => {
  const { problem } = container(t, {
    "bin/script": "#!/usr/bin/python3 -u\n",
    "bin/dos": "#!/bin/sh\r\necho\r\n",
    "bin/none": "#!\n",
    "bin/dynamic": elf(amd64, "/lib64/ld-linux-x86-64.so.2"),
  });
  assert.deepEqual(
    [
      (await problem("script"))!.exitCode,
      (await problem("dos"))!.exitCode,
      (await problem("dynamic"))!.exitCode,
      (await problem("none"))!.exitCode,
    ],
    [127, 127, 127, 126],
  );
  assert.match((await problem("script"))!.message, /script for the interpreter "\/usr\/bin\/python3",/);
  assert.match((await problem("dos"))!.message, /Windows line endings/);
  assert.match((await problem("dynamic"))!.message, /dynamic loader "\/lib64\/ld-linux-x86-64\.so\.2",/);
});

test("a program for another machine is 126 and says for which, unless the machine knows more formats", async (t) => {
  const { problem } = container(t, {
    "bin/arm": elf(arm64),
    "bin/text": "echo hi\n",
    "bin/empty": "",
    "bin/odd": elf(4242),
  });
  assert.deepEqual(await problem("arm"), {
    exitCode: 126,
    message: 'the command "arm" is a program for arm64, and this machine is amd64; use an image for linux/amd64',
  });
  assert.match((await problem("sh", { arch: "arm64" }))!.message, /a program for amd64, and this machine is arm64/);
  assert.match((await problem("odd"))!.message, /for machine 4242/);
  assert.match((await problem("text"))!.message, /neither a Linux program nor a script .*#!\/bin\/sh/);
  assert.match((await problem("empty"))!.message, /empty file/);
  for (const command of ["arm", "text", "odd"])
    assert.equal(await problem(command, { otherFormats: true }), undefined, command);
});

test("a program that is cut off anywhere is damaged or runs, and never throws", async (t) => {
  const whole = elf(amd64, "/bin/sh");
  const files = Object.fromEntries(
    Array.from({ length: whole.length }, (_, length) => [`bin/cut${length}`, whole.subarray(0, length)]),
  );
  const { problem } = container(t, files);
  for (let length = 4; length < whole.length; length++) {
    const message = (await problem(`cut${length}`))?.message;
    if (length < 120) assert.match(message ?? "", /damaged/, String(length));
  }
});

test("files in mounts are looked up on the host, through the image's links", async (t) => {
  const { dir, root, problem } = container(t, { "bin/outer": elf(amd64) });
  mkdirSync(join(dir, "volume"));
  mkdirSync(join(root, "run"));
  symlinkSync("run", join(root, "var"));
  writeFileSync(join(dir, "volume/tool"), "#!/no/such\n", { mode: 0o755 });
  const mounts: MountSpec[] = [
    { destination: "/proc", type: "proc", source: "proc" },
    { destination: "/var/tools", type: "bind", source: join(dir, "volume") },
    { destination: "/bin/outer", options: ["rbind"], source: join(dir, "volume/tool") },
  ];
  mkdirSync(join(root, "run/tools"));
  for (const command of ["/var/tools/tool", "/run/tools/tool", "/bin/outer"])
    assert.match((await problem(command, { mounts }))!.message, /interpreter "\/no\/such"/, command);
  assert.match((await problem("/var/tools/other", { mounts }))!.message, /does not exist/);
  assert.equal(await problem("/proc/self/exe", { mounts }), undefined, "cannot be seen from outside");
});

test("links do not lead to the host's files", async (t) => {
  const { dir, root, problem } = container(t, {});
  writeFileSync(join(dir, "outside"), "#!/secret\n", { mode: 0o755 });
  symlinkSync(join(dir, "outside"), join(root, "bin/link"));
  symlinkSync("../../outside", join(root, "bin/up"));
  for (const command of ["link", "up"])
    assert.match((await problem(command))!.message, /in none of the directories/, command);
});

test("what cannot be seen is left unexplained", async (t) => {
  const { root, problem } = container(t, {});
  symlinkSync("loop", join(root, "bin/loop"));
  for (const command of ["/bin/loop", "loop", `/${"z".repeat(3000)}`])
    assert.equal(await problem(command), undefined, command.slice(0, 20));
});

test("whatever an image has as a name, the message is one line of limited length", async (t) => {
  const loader = `/x\n\u0007${"y".repeat(150)}`;
  const { problem } = container(t, {
    "bin/script": `#!/a\u0001${"b".repeat(250)}`,
    "bin/dynamic": elf(amd64, loader.slice(0, 100)),
  });
  for (const command of ["script", "dynamic", `/${"z\n".repeat(100)}`]) {
    const { message } = (await problem(command))!;
    assert.match(message, /^[\x20-\x7e…]{1,700}$/);
  }
});
