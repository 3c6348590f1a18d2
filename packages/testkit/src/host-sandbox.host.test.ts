import assert from "node:assert/strict";
import { execFile, execFileSync, spawn } from "node:child_process";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { reexecInSandbox, runInSandbox } from "./host-sandbox.ts";
import { leftBehind, takeSnapshot } from "./leaks.ts";
import { waitFor } from "./wait.ts";

await reexecInSandbox({ net: true });

const snapshotModule = join(import.meta.dirname, "leaks.ts");

function sh(script: string, net = true) {
  return runInSandbox("sh", ["-c", script], { net, stdio: "capture" });
}

test("it has its own processes, network, /run and cgroups, and none of them stays", async () => {
  const before = takeSnapshot();
  const { exitCode, stdout, stderr } = await sh(`
    echo processes $(ls -d /proc/[0-9]*/exe | wc -l)
    echo interfaces $(ls /sys/class/net) / $(sed 's/:.*//;1,2d' /proc/net/dev)
    ip link add br0 type bridge && ip netns add n1 && iptables -A INPUT -j ACCEPT && echo made
    for dir in $(find /sys/fs/cgroup -maxdepth 1 -type d); do
      if [ -e $dir/cgroup.procs ]; then mkdir -p $dir/left/behind; fi
    done
    mount -t tmpfs tmpfs /mnt
    touch /run/x /var/lib/cni/x
    ipcmk -M 100 >/dev/null
    setsid sleep 1000 &
    exit 7`);
  assert.equal(stderr, "");
  assert.equal(exitCode, 7);
  assert.match(stdout, /^processes [2-5]\ninterfaces lo \/ lo\nmade\n$/);
  assert.deepEqual(leftBehind(before), []);
  assert.equal(existsSync("/run/x"), false);
});

test("it sees no cgroup outside, not even below what is mounted", async () => {
  const { stdout } = await sh("grep ' - cgroup' /proc/self/mountinfo | cut -d ' ' -f 4 | sort -u");
  assert.equal(stdout, "/\n");
});

test("its leaks are found from within", async () => {
  const script = `
    import { execSync } from "node:child_process";
    import { leftBehind, takeSnapshot } from ${JSON.stringify(snapshotModule)};
    const before = takeSnapshot();
    const once = () => { const start = performance.now(); takeSnapshot(); return performance.now() - start; };
    const tookMs = Math.min(...Array.from({ length: 10 }, once)); // a busy machine interrupts most of them
    execSync("ip link add br0 type bridge; ip netns add n1; iptables -t nat -N CHAIN; ip6tables -A INPUT -j DROP; mkdir -p /var/lib/cni/results; touch /var/lib/cni/results/r /var/lib/cni/lock; ipcmk -M 100; setsid sleep 1000 & until grep -q sleep /proc/$!/comm; do sleep 0.01; done; for d in /sys/fs/cgroup /sys/fs/cgroup/pids; do [ -e $d/cgroup.procs ] && mkdir $d/left; done; true", { stdio: "ignore" });
    console.log(JSON.stringify({ tookMs, left: leftBehind(before, { settleMs: 0 }) }));`;
  const { stdout, stderr } = await runInSandbox(process.execPath, ["--input-type=module", "-e", script], {
    net: true,
    stdio: "capture",
  });
  assert.equal(stderr, "");
  const { tookMs, left } = JSON.parse(stdout) as { tookMs: number; left: string[] };
  for (const pattern of [
    /^network interface br0 is/,
    /^network namespace \/run\/netns\/n1 is/,
    /^nsfs mount of nsfs is still at \/run\/netns\/n1/,
    /^iptables \(nft, table nat\) still has the chain CHAIN/,
    /^ip6tables \(nft, table filter\) still has the rule -A INPUT -j DROP/,
    /^CNI file \/var\/lib\/cni\/results\/r is/,
    /^System V shm \d+/,
    /^process \d+ \(parent 1\) is still running: (setsid )?sleep 1000/,
    /^cgroup \/sys\/fs\/cgroup\/(pids\/)?left is/,
  ]) {
    assert.ok(
      left.some((sentence) => pattern.test(sentence)),
      `${pattern} in ${left.join("\n")}`,
    );
  }
  assert.ok(!left.some((sentence) => sentence.includes("/lock")), left.join("\n"));
  assert.ok(tookMs < 200, `a snapshot took ${tookMs} ms`);
});

for (const runtime of ["crun", "runc"]) {
  test(`${runtime} runs a container with limits inside`, async (t) => {
    const bundle = mkdtempSync(join(tmpdir(), "keelson-bundle-"));
    t.after(() => rmSync(bundle, { recursive: true }));
    mkdirSync(join(bundle, "rootfs/bin"), { recursive: true });
    copyFileSync("/bin/busybox", join(bundle, "rootfs/bin/sh"));
    execFileSync(runtime, ["spec"], { cwd: bundle });
    const spec = JSON.parse(execFileSync("cat", [join(bundle, "config.json")], { encoding: "utf8" }));
    spec.process.terminal = false;
    spec.process.args = [
      "/bin/sh",
      "-c",
      "echo in the container; cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; true",
    ];
    spec.linux.cgroupsPath = "/kubepods/pod1/c1";
    spec.linux.resources = {
      memory: { limit: 64 << 20 },
      cpu: { shares: 512, quota: 50_000, period: 100_000 },
      pids: { limit: 50 },
    };
    writeFileSync(join(bundle, "config.json"), JSON.stringify(spec));
    const { exitCode, stdout, stderr } = await sh(`cd ${bundle} && ${runtime} run c1`);
    assert.deepEqual({ exitCode, stdout, stderr }, { exitCode: 0, stdout: "in the container\n67108864\n", stderr: "" });
  });
}

test("it works where cgroup v2 is all there is, with controllers for those inside", async () => {
  // On a hybrid machine: cover its v1 hierarchies with the v2 one, and make the sandbox in that.
  const { exitCode, stdout, stderr } = await sh(`
    set -e
    hand_down() { for one in $controllers; do echo $1$one >/sys/fs/cgroup/cgroup.subtree_control; done; }
    hybrid=$([ -e /sys/fs/cgroup/cgroup.procs ] || echo yes)
    if [ "$hybrid" ]; then mount -t cgroup2 cgroup2 /sys/fs/cgroup; fi
    controllers=$(cat /sys/fs/cgroup/cgroup.controllers)
    if [ "$hybrid" ]; then hand_down +; fi
    ${process.execPath} -e '
      const { runInSandbox } = await import(${JSON.stringify(join(import.meta.dirname, "host-sandbox.ts"))});
      const { stdout, stderr } = await runInSandbox("sh", ["-c", "cat /proc/self/cgroup; mkdir /sys/fs/cgroup/pod; echo [$(cat /sys/fs/cgroup/pod/cgroup.controllers)]"], { stdio: "capture" });
      console.log(JSON.stringify({ stdout, stderr }));
    '
    echo "[$controllers]"
    ls /sys/fs/cgroup | grep keelson-sandbox || true
    if [ "$hybrid" ]; then hand_down - || true; fi`);
  assert.equal(stderr, "");
  assert.equal(exitCode, 0);
  const [inner = "", controllers, ...others] = stdout.trimEnd().split("\n");
  const result = JSON.parse(inner) as { stdout: string; stderr: string };
  assert.equal(result.stderr, "");
  assert.match(result.stdout, /^0::\/init$/m);
  assert.ok(result.stdout.endsWith(`${controllers}\n`), result.stdout);
  // Where hugetlb is mounted as v1, as docs/operating.md recommends for hybrid machines, v2 may have no controller to
  // pass down. Where it is on v2, it was passed down.
  if (/^hugetlb\t0\t\d+\t1$/m.test(readFileSync("/proc/cgroups", "utf8"))) assert.match(controllers ?? "", /hugetlb/);
  assert.deepEqual(others, []);
});

test("callers with the same pid, in PID namespaces of their own, have sandboxes at the same time", async () => {
  const script = `
    const { runInSandbox } = await import(${JSON.stringify(join(import.meta.dirname, "host-sandbox.ts"))});
    const { exitCode, stdout, stderr } = await runInSandbox("sh", ["-c", "sleep 1; echo inside"], { stdio: "capture" });
    console.log(JSON.stringify([process.pid, exitCode, stdout, stderr]));`;
  const alone = ["--pid", "--fork", "--mount-proc", process.execPath, "-e", script];
  const answers = await Promise.all([1, 2].map(() => promisify(execFile)("unshare", alone)));
  for (const { stdout } of answers) assert.deepEqual(JSON.parse(stdout), [1, 0, "inside\n", ""]);
});

test(
  "everything inside dies with a caller that is killed, and the next sandbox removes the cgroups",
  { timeout: 20_000 },
  async () => {
    const before = takeSnapshot();
    const script = `
    const { runInSandbox } = await import(${JSON.stringify(join(import.meta.dirname, "host-sandbox.ts"))});
    await runInSandbox("sh", ["-c", "setsid sleep 1234 & echo up; wait"], { net: true, stdio: "inherit" });`;
    const caller = spawn(process.execPath, ["-e", script], { stdio: ["ignore", "pipe", "inherit"] });
    const ended = new Promise((resolve) => caller.once("exit", resolve));
    await new Promise((resolve) => caller.stdout.once("data", resolve));
    assert.ok(cgroupsOf(caller.pid).length > 0);
    caller.kill("SIGKILL");
    await ended;
    await waitFor(() => leftBehind(before, { settleMs: 0 }).every((sentence) => !sentence.startsWith("process")));
    await sh("true");
    assert.deepEqual(cgroupsOf(caller.pid), []);
    assert.deepEqual(leftBehind(before), []);
  },
);

test(
  "it ends even when something inside was left frozen",
  { timeout: 20_000, skip: existsSync("/sys/fs/cgroup/freezer") ? false : "cgroup v2 kills what is frozen" },
  async () => {
    const script =
      "mkdir /sys/fs/cgroup/freezer/f; sleep 600 & echo $! >/sys/fs/cgroup/freezer/f/cgroup.procs; echo FROZEN >/sys/fs/cgroup/freezer/f/freezer.state; sleep 2";
    assert.equal((await runInSandbox("sh", ["-c", script], { stdio: "capture" })).exitCode, 0);
  },
);

test("it passes SIGTERM on", { timeout: 20_000 }, async () => {
  const script = `
    const { runInSandbox } = await import(${JSON.stringify(join(import.meta.dirname, "host-sandbox.ts"))});
    const { exitCode } = await runInSandbox("sh", ["-c", "trap 'exit 9' TERM; echo up; sleep 1000 & wait"], { stdio: "inherit" });
    process.exit(exitCode);`;
  const caller = spawn(process.execPath, ["-e", script], { stdio: ["ignore", "pipe", "inherit"] });
  const ended = new Promise((resolve) => caller.once("exit", resolve));
  await new Promise((resolve) => caller.stdout.once("data", resolve));
  caller.kill("SIGTERM");
  assert.equal(await ended, 9);
});

function cgroupsOf(pid: number | undefined): string[] {
  const root = "/sys/fs/cgroup";
  return [root, ...readdirSync(root).map((name) => join(root, name))]
    .filter((dir) => existsSync(join(dir, "cgroup.procs")))
    .flatMap((dir) => readdirSync(dir))
    .filter((name) => name.startsWith(`keelson-sandbox-${pid}-`));
}
