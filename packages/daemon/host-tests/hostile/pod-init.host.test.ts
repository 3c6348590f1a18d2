// What runs in a pod's namespaces on the node's behalf, as containers with CAP_SYS_PTRACE could use it (CVE-2019-5736).
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, test } from "node:test";
import { NamespaceMode, SecurityProfile_ProfileType as Profile } from "@keelson/cri/gen/runtime/v1/api.ts";
import { isErrno } from "@keelson/linux/errno.ts";
import { builtFile } from "@keelson/linux/native.ts";
import { readProcesses } from "@keelson/linux/procfs.ts";
import { skip } from "@keelson/testkit/host-sandbox.ts";
import { waitFor } from "@keelson/testkit/wait.ts";
import { compileProgram } from "../testing/compile.ts";
import { skipGvisor } from "../testing/gvisor.ts";
import { shareNode } from "../testing/shared-node.ts";
import { built, runtimes, sectionLike, TestNode } from "../testing/test-node.ts";

const [EPERM, EBADF] = [1, 9];
/** Of cgroup_namespaces(7) and its like: all kinds that a container may have of its own. */
const kinds = ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"];
const namespacesOf = (pid: number | "self") => kinds.map((kind) => readlinkSync(`/proc/${pid}/ns/${kind}`)).join(" ");

const idOf = ({ dev, ino }: { dev: number; ino: number }) => `${dev}:${ino}`;

/** The files that the daemon starts as programs, by what idOf says of them. */
function ofDaemon(): Map<string, string> {
  const dir = built === undefined ? dirname(builtFile("pod-init")) : join(built, "lib/keelson");
  return new Map(readdirSync(dir).map((name) => [idOf(statSync(join(dir, name))), name]));
}

/** All processes with the files that they run from: those in the node's namespaces, and those in any other. */
function processes() {
  const own = namespacesOf("self");
  const found = readProcesses().flatMap(({ pid, name, state }) => {
    if (state === "Z") return [];
    try {
      return [{ name, program: idOf(statSync(`/proc/${pid}/exe`)), isOutside: namespacesOf(pid) === own }];
    } catch (error) {
      if (isErrno(error, "ENOENT", "ESRCH")) return []; // it has ended, or is a thread of the kernel
      throw error;
    }
  });
  return {
    outside: found.filter(({ isOutside }) => isOutside),
    inside: found.filter(({ isOutside }) => !isOutside),
  };
}

const useNode = shareNode({ config: sectionLike("crun", "boxed", 'sandbox = "container"\n') });

describe("what runs among a pod's containers", { skip: skip || !existsSync("/usr/bin/gcc") }, () => {
  let node: TestNode;
  useNode((shared) => void (node = shared));

  const sharedPid = { namespaceOptions: { pid: NamespaceMode.POD } };
  const runShared = (runtime?: string) => node.runPod({ linux: { securityContext: sharedPid } }, runtime);

  test("is not changed through another pod that was passed the init's file: the next pod's init is as it was", async () => {
    const dir = join(node.dir, "thief");
    mkdirSync(dir);
    compileProgram("init-thief", join(dir, "init-thief"));
    const proof = join(node.dir, "owned");
    writeFileSync(join(dir, "script"), `#!/bin/sh\nid >${proof}\n`);
    const mounts = [{ hostPath: dir, containerPath: "/shared" }];

    const other = await node.runPod();
    const taker = await node.runContainer(other, { command: ["/shared/init-thief", "take", "/shared"], mounts });
    await waitFor(() => existsSync(join(dir, "socket")));
    const victim = await runShared();
    const capabilities = { addCapabilities: ["SYS_PTRACE"] };
    const seccomp = { profileType: Profile.RuntimeDefault };
    const sender = await node.runContainer(victim, {
      command: ["sleep", "600"],
      linux: { securityContext: { ...sharedPid, capabilities, seccomp } },
      mounts,
    });
    await node.output(sender, ["/shared/init-thief", "send", "/shared"]);
    await waitFor(() => existsSync(join(dir, "taken")));
    await node.removePod(victim.id);

    writeFileSync(join(dir, "go"), "");
    await waitFor(() => existsSync(join(dir, "result")));
    // What came of it is decided by whether the next pod runs, whose init the taker still has open.
    const next = await runShared().catch((error: unknown) => error as Error);
    assert.ok(!existsSync(proof), `the container has run its script on the node: ${next instanceof Error}`);
    if (next instanceof Error) throw next;
    assert.equal(
      await node.outputOf(next, { command: ["sh", "-c", "echo -n well"], linux: { securityContext: sharedPid } }),
      "well",
    );
    assert.equal(
      readFileSync(join(dir, "result"), "utf8"),
      `write ${EBADF}\nreopen 0\ntruncate ${EPERM}\nrewrite ${EPERM}\nmap ${EPERM}\n`,
    );
    assert.equal((await node.containerStatus(taker)).state, 1, "the one who has it runs on");
    await node.removePod(next.id);
    await node.removePod(other.id);
  });

  for (const runtime of runtimes) {
    test(`is no program of the node, with ${runtime}: what waits for commands is outside`, async () => {
      const pod = await runShared(runtime);
      const command = ["sleep", "600"];
      const id = await node.runContainer(pod, { command, linux: { securityContext: sharedPid } });
      const running = node.exec(id, "touch /tmp/runs; while [ ! -e /tmp/go ]; do sleep 0.02; done");
      await waitFor(async () => (await node.exec(id, "test -e /tmp/runs")).exitCode === 0);
      const { outside, inside } = processes();
      assert.ok(inside.length >= 3, "the init, the container and the command");
      const programs = new Map([...outside.map(({ program, name }) => [program, name] as const), ...ofDaemon()]);
      const waiter = { crun: "crun", runc: "exec-waiter", "shim-runc": "containerd-shim" }[runtime];
      assert.ok(
        [...programs.values()].some((name) => name.startsWith(waiter)),
        [...programs.values()].join(" "),
      );
      for (const { name, program } of inside)
        assert.equal(programs.get(program), undefined, `${name} in the pod runs from a file of the node`);
      await node.exec(id, "touch /tmp/go");
      assert.equal((await running).exitCode, 0);
      await node.removePod(pod.id);
    });
  }

  test("is none in gVisor either: what stands in for a container is outside", { skip: skipGvisor }, async () => {
    const pod = await runShared("runsc");
    await node.runContainer(pod, { command: ["sleep", "600"], linux: { securityContext: sharedPid } });
    const { outside, inside } = processes();
    const isStandIn = ({ name }: { name: string }) => name.startsWith("gvisor-stand-in".slice(0, 15));
    assert.ok(outside.some(isStandIn), outside.map(({ name }) => name).join(" "));
    assert.ok(!inside.some(isStandIn));
    await node.removePod(pod.id);
  });

  test("is the pod's own copy where a container is the sandbox, and cannot be written", async () => {
    const found = [];
    for (let i = 0; i < 2; i += 1) {
      const pod = await runShared("boxed");
      const capabilities = { addCapabilities: ["SYS_PTRACE"] };
      const id = await node.runContainer(pod, {
        command: ["sleep", "600"],
        linux: { securityContext: { ...sharedPid, capabilities } },
      });
      found.push(await node.output(id, ["stat", "-Lc", "%d:%i", "/proc/1/exe"]));
      assert.equal(await node.output(id, ["readlink", "/proc/1/exe"]), "/hold\n");
      assert.notEqual((await node.exec(id, ": >/proc/1/exe")).exitCode, 0);
    }
    assert.notEqual(found[0], found[1]);
  });
});
