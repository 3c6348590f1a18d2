// A runtime with known holes: named in the log, in Status and by keelctl, and refused when the configuration says so.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { appendFileSync, chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { Code } from "@keelson/base/status.ts";
import { skip } from "@keelson/testkit/host-sandbox.ts";
import { runtimeBinary } from "@keelson/testkit/runtime-binary.ts";
import { keelctl, rejectsWith, TestNode } from "../testing/test-node.ts";

test(
  "a runtime with known holes is named, and refused if that is configured, while what runs goes on",
  { skip },
  async (t) => {
    const dir = mkdtempSync("/run/keelson-holes-");
    t.after(() => rmSync(dir, { recursive: true }));
    const old = join(dir, "old");
    writeFileSync(
      old,
      `#!/bin/sh\ncase "$*" in *--version*) echo runc version 1.1.15; exit;; esac\nexec ${runtimeBinary("runc")} "$@"\n`,
    );
    chmodSync(old, 0o755);
    await using node = await TestNode.start({ config: `[runtimes.old]\npath = "${old}"\n` });
    const line =
      /runc 1\.1\.15 has known holes: CVE-2025-31133, [^"]*; install a release that has them closed \(1\.3\.6, /;
    assert.equal(
      node
        .daemonLog()
        .split("\n")
        .filter((each) => line.test(each)).length,
      1,
    );
    const known = async () => {
      const { info } = await node.call("status", { verbose: true });
      return (
        JSON.parse(info["knownHoles"]!) as Record<string, { version: string; holes: { advisories: string[] }[] }>
      )[old];
    };
    const found = await known();
    assert.equal(found?.version, "1.1.15");
    assert.ok(found.holes[0]!.advisories.includes("CVE-2025-52881"));
    const { stdout } = await promisify(execFile)(keelctl, ["-r", node.endpoint, "info"]);
    const shown = JSON.parse(stdout) as { knownHoles: Record<string, { program: string }> };
    assert.equal(shown.knownHoles[old]?.program, "runc");
    const pod = await node.runPod({}, "old");
    const id = await node.createContainer(pod, "exec sleep 600");
    await node.startContainer(id);

    await node.stop();
    appendFileSync(node.configFile, "\n[security]\nrefuse_known_vulnerable = true\n");
    await node.startAgain();
    const reason =
      /runtime handler old: .*runc 1\.1\.15 has known holes: CVE-2025-31133.*; install .*security\.refuse_known_vulnerable/;
    await rejectsWith(Code.FailedPrecondition, node.runPod({}, "old"), reason);
    await rejectsWith(Code.FailedPrecondition, node.createContainer(pod, "true"), reason);
    assert.equal((await node.exec(id, "echo here")).stdout, "here\n");
    await node.removePod(pod.id);
  },
);
