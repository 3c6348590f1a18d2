/** Runs the machine's real apt and dpkg on a separate root, with directories as mirrors. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test, type TestContext } from "node:test";

const module = join(import.meta.dirname, "runtime-handlers.mjs");

test("the shim is unpacked from containerd's package into our own directory, and nothing is installed", (t) => {
  const machine = new Machine(t);
  machine.publish("bookworm", "containerd", {
    "usr/bin/containerd-shim-runc-v2": "#!/bin/sh\n",
    "usr/bin/containerd": "#!/bin/sh\n",
    "lib/systemd/system/containerd.service": "[Unit]\n",
  });
  machine.update();
  assert.equal(machine.call("shimIsThere", machine.root), false);
  machine.call("unpackShim", machine.root);
  assert.equal(machine.call("shimIsThere", machine.root), true);
  assert.deepEqual(globSync("**/*containerd*", { cwd: join(machine.root, "usr") }), [
    "local/lib/keelson-setup/containerd-shim-runc-v2",
  ]);
  assert.equal(existsSync(join(machine.root, "lib/systemd")), false);
  assert.equal(readFileSync(join(machine.root, "var/lib/dpkg/status"), "utf8"), "");
});

test("a containerd without that shim is an error that says what is missing", (t) => {
  const machine = new Machine(t);
  machine.publish("bookworm", "containerd", { "usr/bin/containerd": "#!/bin/sh\n" });
  machine.update();
  assert.throws(() => machine.call("unpackShim", machine.root), /has no usr\/bin\/containerd-shim-runc-v2/);
  assert.deepEqual(globSync("usr/local/lib/keelson-setup/*", { cwd: machine.root }), []);
});

test("runsc comes from the backports on the machine's mirror, and the machine's sources and lists stay as they are", (t) => {
  const machine = new Machine(t);
  machine.publish("bookworm", "hello", { "usr/bin/hello": "#!/bin/sh\n" });
  machine.publish("bookworm-backports", "runsc", { "usr/bin/runsc": "#!/bin/sh\n" });
  machine.update();
  const lists = globSync("{etc/apt,var/lib/apt/lists}/**", { cwd: machine.root }).sort();
  assert.equal(machine.call("runscIsSettled", { root: machine.root }), false);
  assert.equal(machine.call("installRunsc", { root: machine.root, release: "bookworm" }), null);
  assert.equal(machine.call("runscIsSettled", { root: machine.root }), true);
  assert.match(
    readFileSync(join(machine.root, "var/lib/dpkg/status"), "utf8"),
    /Package: runsc\nStatus: install ok installed/,
  );
  assert.deepEqual(globSync("{etc/apt,var/lib/apt/lists}/**", { cwd: machine.root }).sort(), lists);
});

test("when backports cannot be reached, the reason is recorded, and it is tried again a day later or on request", (t) => {
  const machine = new Machine(t);
  machine.publish("bookworm", "hello", { "usr/bin/hello": "#!/bin/sh\n" });
  machine.update();
  const { root } = machine;
  const reason = machine.call("installRunsc", { root, release: "bookworm" });
  assert.match(String(reason), /^apt-get cannot install runsc from bookworm-backports on file:\/.*: E: /);
  const note = join(root, "usr/local/lib/keelson-setup/runsc.absent");
  assert.equal(readFileSync(note, "utf8"), `${String(reason)}\n`);
  assert.equal(machine.call("runscIsSettled", { root }), true);
  assert.equal(machine.call("runscIsSettled", { root, retry: true }), false);
  utimesSync(note, new Date(), new Date(Date.now() - 25 * 3600_000));
  assert.equal(machine.call("runscIsSettled", { root }), false);

  machine.publish("bookworm-backports", "runsc", { "usr/bin/runsc": "#!/bin/sh\n" });
  assert.equal(machine.call("installRunsc", { root, release: "bookworm" }), null);
  assert.equal(existsSync(note), false);
});

test("a machine without a mirror of Debian 12 gets that as the reason", (t) => {
  const machine = new Machine(t);
  assert.match(
    String(machine.call("installRunsc", { root: machine.root, release: "bookworm" })),
    /no mirror of Debian 12/,
  );
});

test("a runsc from elsewhere is left alone", (t) => {
  const machine = new Machine(t);
  const path = join(machine.root, "usr/local/bin/runsc");
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, "#!/bin/sh\n");
  assert.equal(machine.call("runscIsSettled", { root: machine.root }), false, "a file that cannot be executed is none");
  chmodSync(path, 0o755);
  assert.equal(machine.call("runscIsSettled", { root: machine.root }), true);
});

/** A root directory for apt and dpkg with one source, a mirror in a directory beside it. */
class Machine {
  readonly root: string;
  readonly #mirror: string;
  readonly #aptConfig: string;

  constructor(t: TestContext) {
    const dir = mkdtempSync(join(tmpdir(), "keelson-setup-test-"));
    t.after(() => rmSync(dir, { recursive: true }));
    chmodSync(dir, 0o755);
    this.root = join(dir, "root");
    this.#mirror = join(dir, "mirror");
    this.#aptConfig = join(dir, "apt.conf");
    for (const path of [
      "etc/apt/sources.list.d",
      "etc/apt/preferences.d",
      "var/lib/apt/lists",
      "var/cache/apt/archives",
      "var/log/apt",
      "var/lib/dpkg/info",
      "var/lib/dpkg/updates",
    ])
      mkdirSync(join(this.root, path), { recursive: true });
    writeFileSync(join(this.root, "var/lib/dpkg/status"), "");
    const settings = [
      `Dir "${this.root}"`,
      `Dir::State::status "${this.root}/var/lib/dpkg/status"`,
      `Dir::Log "${this.root}/var/log/apt"`,
      `DPkg::Options { "--root=${this.root}"; "--log=/dev/null" }`,
      'Acquire::AllowInsecureRepositories "true"',
      'APT::Get::AllowUnauthenticated "true"',
    ];
    writeFileSync(this.#aptConfig, settings.map((line) => `${line};\n`).join(""));
  }

  publish(suite: string, name: string, files: Record<string, string>): void {
    const tree = join(this.#mirror, "trees", name);
    const write = (file: string, text: string) => {
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, text, { mode: 0o755 });
    };
    for (const [path, text] of Object.entries(files)) write(join(tree, path), text);
    const control = `Package: ${name}\nVersion: 1.0\nArchitecture: amd64\nMaintainer: Nobody <nobody@example.com>\nDescription: a test\n`;
    write(join(tree, "DEBIAN/control"), control);
    const deb = join("pool", `${name}_1.0_amd64.deb`);
    mkdirSync(join(this.#mirror, "pool"), { recursive: true });
    execFileSync("dpkg-deb", ["--build", tree, join(this.#mirror, deb)], { stdio: "pipe" });
    const bytes = readFileSync(join(this.#mirror, deb));
    const packages = `${control}Filename: ${deb}\nSize: ${bytes.length}\nSHA256: ${sha256(bytes)}\n`;
    const dist = join(this.#mirror, "dists", suite);
    write(join(dist, "main/binary-amd64/Packages"), packages);
    write(
      join(dist, "Release"),
      `Suite: ${suite}\nCodename: ${suite}\nArchitectures: amd64\nComponents: main\nSHA256:\n ${sha256(Buffer.from(packages))} ${packages.length} main/binary-amd64/Packages\n`,
    );
    writeFileSync(join(this.root, "etc/apt/sources.list"), `deb file:${this.#mirror} bookworm main\n`);
  }

  update(): void {
    execFileSync("apt-get", ["update"], { env: this.#env(), stdio: "pipe" });
  }

  /** Calls a function of the module in a separate process, and returns its result. */
  call(name: string, argument: unknown): unknown {
    const script = `const m = await import(process.argv[1]); console.log(JSON.stringify(m[process.argv[2]](JSON.parse(process.argv[3])) ?? null));`;
    return JSON.parse(
      execFileSync(process.execPath, ["--input-type=module", "-e", script, module, name, JSON.stringify(argument)], {
        encoding: "utf8",
        env: this.#env(),
        stdio: "pipe",
      }),
    );
  }

  #env(): NodeJS.ProcessEnv {
    return { ...process.env, APT_CONFIG: this.#aptConfig, PATH: "/usr/sbin:/usr/bin:/sbin:/bin" };
  }
}

function sha256(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}
