// Who can reach the daemon and its store: root and the socket's group, and nothing that runs in a container.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmodSync, statSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { NamespaceMode } from "@keelson/cri/gen/runtime/v1/api.ts";
import { skip } from "@keelson/testkit/host-sandbox.ts";
import { TestNode } from "../testing/test-node.ts";

describe("the socket and the store", { skip }, () => {
  let node: TestNode;
  before(async () => void (node = await TestNode.start()));
  after(() => node[Symbol.asyncDispose]());

  const mode = (path: string) => (statSync(path).mode & 0o7777).toString(8);
  /** As nobody, who is in no group. */
  const asNobody = (script: string) =>
    execFileSync(
      "setpriv",
      ["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "sh", "-c", script],
      { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] },
    );

  test("are root's: the socket has mode 0660, directories cannot be read by others", () => {
    const { uid, gid } = statSync(node.socketPath);
    assert.deepEqual([mode(node.socketPath), uid, gid], ["660", 0, 0]);
    assert.equal(mode(node.root), "700");
    assert.match(mode(node.state), /^7[01]1$|^700$/);
    for (const dir of [node.root, node.state, join(node.state, "pods"), join(node.state, "containers")]) {
      assert.throws(() => asNobody(`ls ${dir}`), /Permission denied/, dir);
    }
    assert.throws(() => asNobody(`cat ${node.root}/state.db`), /Permission denied/);
  });

  test("are out of reach for another user of the machine", async () => {
    const pod = await node.runPod();
    const id = await node.runContainer(pod, "echo secret >/secret; sleep 600");
    const { bundle } = await node.containerInfo(id);
    chmodSync(node.dir, 0o755);
    const connect = `const s = require("node:net").connect("${node.socketPath}"); s.on("error", (e) => console.log(e.code)); s.on("connect", () => { console.log("connected"); s.destroy(); })`;
    assert.match(asNobody(`${process.execPath} -e '${connect}'`), /EACCES/);
    for (const path of [
      `${bundle}/config.json`,
      `${bundle}/rootfs/secret`,
      `${node.root}/containers/${id}/upper/secret`,
    ]) {
      assert.throws(() => asNobody(`cat ${path}`), /Permission denied/, path);
    }
    await node.removePod(pod.id);
  });

  const { CONTAINER, NODE } = NamespaceMode;
  for (const [what, namespaceOptions] of [
    ["a container", { pid: CONTAINER }],
    ["a container in the host's network, IPC and PID namespaces", { pid: NODE, network: NODE, ipc: NODE }],
  ] as const) {
    test(`are out of reach for ${what} that is root but not privileged`, async () => {
      // What a kubelet sends: empty lists would mean that nothing is protected.
      const readonlyPaths = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
      const security = { namespaceOptions, readonlyPaths, maskedPaths: ["/proc/kcore", "/sys/firmware"] };
      const pod = await node.runPod({ linux: { securityContext: { namespaceOptions } } });
      const id = await node.runContainer(pod, { command: ["sleep", "600"], linux: { securityContext: security } });
      const tries = async (script: string) => {
        const { stdout, stderr, exitCode } = await node.exec(id, script);
        return `${exitCode} ${stdout}${stderr}`;
      };
      assert.match(await tries("id -u"), /^0 0\n/);
      assert.match(await tries(`ls ${node.dir}`), /No such file/);
      assert.match(await tries("ls /run"), /^0 $/);
      assert.doesNotMatch(await tries("cat /proc/self/mountinfo"), /k\.sock|state\.db/);
      // By way of the daemon's own view, where its process can be seen.
      for (const pid of namespaceOptions.pid === NODE ? [node.pid, 1] : []) {
        for (const path of ["root/", "cwd/"])
          assert.match(await tries(`ls /proc/${pid}/${path}`), /ermission denied/, path);
        assert.match(await tries(`cat /proc/${pid}/environ`), /ermission denied/);
        // Their numbers can be seen, nothing behind them.
        assert.match(
          await tries(`cd /proc/${pid}/fd && for fd in *; do readlink $fd && echo reached; done; true`),
          /^0 $/,
        );
      }
      // By way of the machine's disks, new mounts and other roots.
      assert.match(await tries("mknod /tmp/disk b 254 0 && cat /tmp/disk | head -c 1"), /not permitted|No such device/);
      assert.match(await tries("mkdir -p /tmp/m && mount -t proc proc /tmp/m"), /ermitted|ermission denied/);
      assert.match(await tries("mount -o remount,rw /sys"), /ermitted|ermission denied/);
      assert.match(
        await tries("chroot /proc/1/root ls /run"),
        namespaceOptions.pid === NODE ? /ermission denied/ : /^0 $/,
      );
      // A program that the kernel starts outside of the container: opened, never written.
      assert.match(await tries(": >>/proc/sys/kernel/core_pattern"), /Read-only|ermission denied/);
      await node.removePod(pod.id);
    });
  }

  test("directories that others may read are closed at the start", async () => {
    await node.stop();
    for (const dir of [node.root, node.state]) chmodSync(dir, 0o755);
    await node.startAgain();
    assert.deepEqual([mode(node.root), mode(node.state)], ["700", "711"]);
  });
});
