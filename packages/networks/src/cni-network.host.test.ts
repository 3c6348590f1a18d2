// Real plugins, in a sandbox with its own network:
//   bin/node scripts/test.ts cni-network
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { silentLog } from "@keelson/base/log.ts";
import { Code, StatusError } from "@keelson/base/status.ts";
import { createNamespacesAsync, unpinNamespaceAsync } from "@keelson/linux/namespace.ts";
import { warmThreadPool } from "@keelson/linux/pool.ts";
import { inOwnSandbox } from "@keelson/testkit/host-sandbox.ts";
import { leftBehind, type Snapshot, takeSnapshot } from "@keelson/testkit/leaks.ts";
import { waitFor } from "@keelson/testkit/wait.ts";
import type { AttachedPod } from "./attached-pod.ts";
import { CniNetwork } from "./cni-network.ts";
import { createPluginExec } from "./plugin-exec.ts";

const skip = inOwnSandbox() ? false : "needs a sandbox: bin/node --import @keelson/testkit/sandboxed.ts FILE";
const never = new AbortController().signal;
const binDirs = ["/opt/cni/bin", "/usr/lib/cni"];
/** An address of the host other than loopback, for host ports. */
const hostAddress = "192.0.2.1";

const bridge = {
  type: "bridge",
  bridge: "cni0",
  isGateway: true,
  ipMasq: true,
  ipam: { type: "host-local", ranges: [[{ subnet: "10.88.0.0/16" }]], routes: [{ dst: "0.0.0.0/0" }] },
};
const portmap = { type: "portmap", capabilities: { portMappings: true } };

let base: string;
let networks: CniNetwork;
/** Includes what the plugins never remove: the bridge and their iptables chains. */
let baseline: Snapshot;

const ip = (...args: string[]): string => execFileSync("ip", args, { encoding: "utf8" });
const inPod = (pod: AttachedPod, ...command: string[]): string =>
  execFileSync("nsenter", [`--net=${pod.netnsPath}`, ...command], { encoding: "utf8" });
const writeList = (plugins: object[]): void =>
  writeFileSync(
    join(base, "net.d", "10-podnet.conflist"),
    JSON.stringify({ cniVersion: "1.0.0", name: "podnet", plugins }),
  );

function openNetworks(options: { binDirs?: string[]; confDir?: string } = {}): CniNetwork {
  return new CniNetwork({
    log: silentLog,
    confDir: join(base, "net.d"),
    binDirs,
    cacheDir: join(base, "cache"),
    exec: createPluginExec(process.env),
    cleanupTimeoutMs: 10_000,
    ...options,
  });
}

/** A pod with its network namespace, which is unpinned when disposed. */
async function makePod(overrides: Partial<AttachedPod> = {}): Promise<AttachedPod & AsyncDisposable> {
  const id = randomBytes(32).toString("hex");
  const netnsPath = join(base, "pins", id);
  await createNamespacesAsync({ net: netnsPath, loopbackUp: true });
  const pod = {
    id,
    name: "web",
    namespace: "default",
    uid: `uid-${id.slice(0, 8)}`,
    netnsPath,
    portMappings: [],
    annotations: {},
    ...overrides,
  };
  return { ...pod, [Symbol.asyncDispose]: () => unpinNamespaceAsync(netnsPath) };
}

/** A plugin that is a shell script; `$1` is a file in which it may leave notes. */
function writePlugin(name: string, script: string): string {
  const dir = join(base, "bin");
  mkdirSync(dir, { recursive: true });
  writeFileSync(join(dir, name), `#!/bin/sh\nset -- ${dir}/${name}.note\n${script}\n`);
  chmodSync(join(dir, name), 0o755);
  return dir;
}

function assertNothingLeft(): void {
  assert.deepEqual(leftBehind(baseline, { settleMs: 3000 }), []);
  assert.deepEqual(existsSync(join(base, "cache/results")) ? readdirSync(join(base, "cache/results")) : [], []);
}

before(async () => {
  if (skip !== false) return;
  await warmThreadPool();
  base = mkdtempSync("/run/keelson-network-");
  for (const dir of ["net.d", "pins"]) mkdirSync(join(base, dir));
  ip("link", "add", "uplink", "type", "bridge"); // Not every kernel has dummy links.
  ip("addr", "add", `${hostAddress}/24`, "dev", "uplink");
  ip("link", "set", "uplink", "up");
  writeList([bridge, portmap]);
  networks = openNetworks();
  await networks.start();
  await using first = await makePod({
    portMappings: [{ protocol: "tcp", containerPort: 80, hostPort: 8080, hostIP: "" }],
  });
  await networks.attach(first, never);
  await networks.detach(first, never);
  await first[Symbol.asyncDispose]();
  baseline = takeSnapshot();
});

after(() => {
  if (skip !== false) return;
  networks.close();
  for (const link of ["cni0", "uplink"]) ip("link", "del", link);
  for (const command of ["iptables", "ip6tables"]) {
    for (const table of ["nat", "filter", "mangle"])
      for (const what of ["-F", "-X"]) execFileSync(command, ["-t", table, what]);
  }
  rmSync(base, { recursive: true });
});

test("a pod gets an address, reaches the host, and leaves nothing", { skip }, async () => {
  await using pod = await makePod();
  const stages: string[] = [];
  const { ips } = await networks.attach(pod, never, (stage) => stages.push(stage));
  assert.match(ips.join(), /^10\.88\.\d+\.\d+$/);
  assert.deepEqual(stages, [
    "attach to network podnet: plugin bridge: ADD",
    "attach to network podnet: plugin portmap: ADD",
  ]);
  assert.match(inPod(pod, "ip", "-o", "addr", "show", "eth0"), new RegExp(`inet ${ips[0]}/16`));
  inPod(pod, "busybox", "ping", "-c", "1", "-W", "2", "10.88.0.1");
  inPod(pod, "busybox", "ping", "-c", "1", "-W", "2", hostAddress);
  await networks.detach(pod, never);
  assert.doesNotMatch(inPod(pod, "ip", "-o", "link"), /eth0/);
  await networks.detach(pod, never); // again
  await pod[Symbol.asyncDispose]();
  assertNothingLeft();
});

test("a host port leads into the pod", { skip }, async () => {
  await using pod = await makePod({
    portMappings: [
      { protocol: "tcp", containerPort: 80, hostPort: 8081, hostIP: "" },
      { protocol: "tcp", containerPort: 81, hostPort: 0, hostIP: "" },
    ],
  });
  await networks.attach(pod, never);
  const serve = ["busybox", "nc", "-ll", "-p", "80", "-e", "/bin/echo", "hello"];
  const server = spawn("nsenter", [`--net=${pod.netnsPath}`, ...serve], { stdio: "ignore" });
  const closed = new Promise((resolve) => server.once("close", resolve));
  try {
    const answer = await waitFor(() => {
      try {
        const ask = ["nc", "-w", "2", hostAddress, "8081"];
        return execFileSync("busybox", ask, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
      } catch {
        return ""; // It does not listen yet.
      }
    });
    assert.equal(answer, "hello\n");
  } finally {
    server.kill("SIGKILL");
    await closed;
  }
  await networks.detach(pod, never);
  await pod[Symbol.asyncDispose]();
  assertNothingLeft();
});

test("a pod's address and rules are removed even when its namespace is gone", { skip }, async () => {
  await using pod = await makePod({
    portMappings: [{ protocol: "udp", containerPort: 53, hostPort: 5353, hostIP: "" }],
  });
  await networks.attach(pod, never);
  await pod[Symbol.asyncDispose]();
  await networks.detach(pod, never);
  assertNothingLeft();
});

test("a pin that lost its mount counts as gone", { skip }, async () => {
  await using pod = await makePod();
  await networks.attach(pod, never);
  execFileSync("umount", [pod.netnsPath]);
  await networks.detach(pod, never);
  await pod[Symbol.asyncDispose]();
  assertNothingLeft();
});

test("a pod is detached without its cache, and without its configuration", { skip }, async () => {
  await using withoutCache = await makePod({
    portMappings: [{ protocol: "tcp", containerPort: 80, hostPort: 8082, hostIP: "" }],
  });
  await networks.attach(withoutCache, never);
  rmSync(join(base, "cache"), { recursive: true });
  await networks.detach(withoutCache, never);
  await withoutCache[Symbol.asyncDispose]();
  assertNothingLeft();

  await using withoutConfig = await makePod();
  await networks.attach(withoutConfig, never);
  const bare = openNetworks({ confDir: join(base, "nothing.d") });
  await bare.start();
  await bare.detach(withoutConfig, never);
  bare.close();
  await withoutConfig[Symbol.asyncDispose]();
  assertNothingLeft();
});

test("when the second plugin fails, the first one is undone", { skip }, async () => {
  const dir = writePlugin(
    "broken",
    'echo $CNI_COMMAND >>"$1"; cat >/dev/null\n[ $CNI_COMMAND = DEL ] || { echo \'{"cniVersion":"1.0.0","code":11,"msg":"no luck"}\'; exit 1; }',
  );
  writeList([bridge, { type: "broken" }]);
  const broken = openNetworks({ binDirs: [dir, ...binDirs] });
  await broken.start();
  await using pod = await makePod();
  await assert.rejects(broken.attach(pod, never), (error: StatusError) => {
    assert.equal(error.code, Code.Unavailable);
    assert.match(
      error.message,
      /^attach pod [0-9a-f]{13} to network podnet: plugin broken: ADD: no luck \(CNI error 11\)$/,
    );
    return true;
  });
  assert.doesNotMatch(inPod(pod, "ip", "-o", "link"), /eth0/);
  await pod[Symbol.asyncDispose]();
  broken.close();
  writeList([bridge, portmap]);
  assertNothingLeft();
});

test("a plugin that hangs is killed with its children when the call ends, and undone", { skip }, async () => {
  const dir = writePlugin("hanging", '[ $CNI_COMMAND = DEL ] && exit 0\nsleep 1000 &\ntouch "$1"\nwait');
  writeList([bridge, { type: "hanging" }]);
  const hanging = openNetworks({ binDirs: [dir, ...binDirs] });
  await hanging.start();
  await using pod = await makePod();
  const abort = new AbortController();
  const attached = hanging.attach(pod, abort.signal);
  await Promise.race([attached, waitFor(() => existsSync(join(dir, "hanging.note")))]);
  abort.abort(new DOMException("the client's deadline is over", "TimeoutError"));
  await assert.rejects(attached, (error: StatusError) => {
    assert.equal(error.code, Code.DeadlineExceeded);
    assert.match(
      error.message,
      /network podnet: plugin hanging: ADD: was running for \d+\.\d s when the deadline was over, and was killed$/,
    );
    return true;
  });
  await pod[Symbol.asyncDispose]();
  hanging.close();
  writeList([bridge, portmap]);
  assertNothingLeft();
});

test("what is left of an ADD that was interrupted by a crash is found and removed", { skip }, async () => {
  await using pod = await makePod();
  // As after SIGKILL in the middle of ADD: the plugin has done its work, but its result is not on disk.
  const crashed = openNetworks();
  await crashed.start();
  await crashed.attach(pod, never);
  const file = join(base, "cache/results", `podnet-${pod.id}-eth0`);
  const { result: _, ...intent } = JSON.parse(execFileSync("cat", [file], { encoding: "utf8" })) as { result: unknown };
  writeFileSync(file, JSON.stringify(intent));
  crashed.close();
  const next = openNetworks();
  await next.start();
  await next.collectGarbage(new Set(), never);
  next.close();
  await pod[Symbol.asyncDispose]();
  assertNothingLeft();
});

test("twenty pods at once come and go", { skip, timeout: 120_000 }, async (t) => {
  const pods = await Promise.all(
    Array.from({ length: 20 }, (_, i) =>
      makePod({
        portMappings: i % 2 === 0 ? [{ protocol: "tcp", containerPort: 80, hostPort: 9000 + i, hostIP: "" }] : [],
      }),
    ),
  );
  const upMs = performance.now();
  const attached = await Promise.all(pods.map((pod) => networks.attach(pod, never)));
  const downMs = performance.now();
  assert.equal(new Set(attached.map(({ ips }) => ips[0])).size, 20);
  await Promise.all(pods.map((pod) => networks.detach(pod, never)));
  t.diagnostic(`up ${Math.round(downMs - upMs)} ms, down ${Math.round(performance.now() - downMs)} ms`);
  for (const pod of pods) await pod[Symbol.asyncDispose]();
  assertNothingLeft();
});
