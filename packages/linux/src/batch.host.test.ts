import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { inOwnSandbox } from "@keelson/testkit/host-sandbox.ts";
import { countProcesses, readFiles, readNetDev } from "./batch.ts";
import { readCgroupUsages } from "./cgroup-usage.ts";
import { cgroupDirs, createCgroup, detectCgroups, killCgroup, removeCgroup } from "./cgroup.ts";
import { createNamespaces, unpinNamespace } from "./namespace.ts";
import { parseNetDev } from "./net-dev.ts";

describe("reads in one go", { skip: inOwnSandbox() ? false : "needs a sandbox of its own" }, () => {
  let dir: string;
  before(() => {
    dir = mkdtempSync(join(tmpdir(), "keelson-batch-"));
  });
  after(() => rmSync(dir, { recursive: true }));

  test("files are read in order, with null for a missing or unreadable one and for a directory", async () => {
    writeFileSync(join(dir, "a"), "one\n");
    writeFileSync(join(dir, "empty"), "");
    assert.deepEqual(await readFiles([join(dir, "a"), join(dir, "none"), dir, join(dir, "empty"), join(dir, "a")]), [
      "one\n",
      null,
      null,
      "",
      "one\n",
    ]);
    assert.deepEqual(await readFiles([]), []);
    await assert.rejects(readFiles(["a\0b"]), TypeError);
  });

  test("interfaces are read inside other network namespaces, and no thread stays in them", async () => {
    const own = readFileSync("/proc/self/net/dev", "utf8");
    const pin = join(dir, "netns");
    createNamespaces({ net: pin, loopbackUp: true });
    try {
      const [text, gone, none] = await readNetDev([pin, join(dir, "gone"), join(dir, "a")]);
      assert.match(text!, /^ *lo:/m);
      assert.deepEqual(parseNetDev(text!), []);
      assert.deepEqual([gone, none], [null, null]);
      for (let i = 0; i < 8; i += 1)
        assert.deepEqual(
          (await readFiles(["/proc/thread-self/net/dev"]))[0]!.split("\n").length,
          own.split("\n").length,
        );
    } finally {
      unpinNamespace(pin);
    }
  });

  test("a cgroup's processes are counted, with their files and sockets", async () => {
    const server = createServer().listen(join(dir, "s"));
    const fd = openSync(dir, "r");
    writeFileSync(join(dir, "procs"), `${process.pid}\n`);
    writeFileSync(join(dir, "nobody"), "");
    const [own, nobody, gone] = await countProcesses([join(dir, "procs"), join(dir, "nobody"), join(dir, "gone")]);
    server.close();
    closeSync(fd);
    assert.equal(own!.processes, 1);
    assert.ok(own!.sockets >= 1 && own!.fileDescriptors > own!.sockets, JSON.stringify(own));
    assert.deepEqual(nobody, { processes: 0, fileDescriptors: 0, sockets: 0 });
    assert.equal(gone, undefined);
  });

  test("a cgroup's usage is what its files say", async () => {
    const layout = detectCgroups();
    createCgroup(layout, "/keelson-batch");
    const child = spawn(
      "sh",
      [
        "-c",
        "read _; x=$(head -c 2000000 /dev/zero | tr '\\0' x); echo filled; i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; read _",
      ],
      { stdio: ["pipe", "pipe", "inherit"] },
    );
    try {
      for (const cgroup of cgroupDirs(layout, "/keelson-batch"))
        writeFileSync(join(cgroup, "cgroup.procs"), String(child.pid));
      const [idle] = await readCgroupUsages(layout, ["/keelson-batch"], "all");
      child.stdin.write("go\n");
      await new Promise((resolve) => child.stdout.once("data", resolve)); // from here on the shell is alone
      let busy = idle;
      while (busy!.cpu!.usageNs < idle!.cpu!.usageNs + 50_000_000n)
        [busy] = await readCgroupUsages(layout, ["/keelson-batch"], "all");
      assert.equal(busy!.pids!.current, 1n);
      assert.ok(busy!.memory!.usageBytes > 0n && busy!.memory!.pageFaults! > 0n, "memory");
      const [brief, gone] = await readCgroupUsages(layout, ["/keelson-batch", "/keelson-none"], "cpu");
      assert.ok(brief!.cpu!.usageNs >= busy!.cpu!.usageNs);
      assert.equal(brief!.memory, undefined);
      assert.equal(gone, undefined);
    } finally {
      await killCgroup(layout, "/keelson-batch");
      await removeCgroup(layout, "/keelson-batch");
    }
  });
});
