// What is mounted in a container, as it is seen from inside.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  chownSync,
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { before, describe, test } from "node:test";
import { Code } from "@keelson/base/status.ts";
import {
  type ContainerConfig,
  type DeepPartial,
  MountPropagation,
  NamespaceMode,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import { lgetxattr } from "@keelson/linux/file.ts";
import { mount } from "@keelson/linux/mount.ts";
import { skip } from "@keelson/testkit/host-sandbox.ts";
import { busyboxImage, type Image, makeImage, makeLayer } from "@keelson/testkit/image.ts";
import { device, directory, fifo, file, hardLink, symlink, whiteout } from "@keelson/testkit/tar.ts";
import { eachRuntime, skipFor, testFor } from "../testing/each-runtime.ts";
import { shareNode } from "../testing/shared-node.ts";
import { imageSpec, type Pod, rejectsWith, TestNode } from "../testing/test-node.ts";

const pidOfContainer = { namespaceOptions: { pid: NamespaceMode.CONTAINER } };
const { PROPAGATION_PRIVATE, PROPAGATION_HOST_TO_CONTAINER, PROPAGATION_BIDIRECTIONAL } = MountPropagation;

async function pull(node: TestNode, name: string, content: Image): Promise<string> {
  const image = node.registry.add(`library/${name}`, "latest", content);
  await node.call("pullImage", { image: imageSpec(image), auth: undefined, sandboxConfig: undefined });
  return image;
}

const useNode = shareNode();

for (const runtime of eachRuntime) {
  const test = testFor(runtime);
  describe(`the mounts of a container with ${runtime}`, { skip: skipFor(runtime), concurrency: 3 }, () => {
    let node: TestNode;
    let pod: Pod;
    let privilegedPod: Pod;
    let hostDir: string;
    useNode(async (shared) => {
      node = shared;
      hostDir = join(node.dir, `host-${runtime}`);
      mkdirSync(hostDir);
      pod = await node.runPod({}, runtime);
      privilegedPod = await node.runPod(
        { linux: { securityContext: { privileged: true, ...pidOfContainer } } },
        runtime,
      );
    });

    const script = (text: string, more: DeepPartial<ContainerConfig> = {}) =>
      ({
        command: ["sh", "-c", text],
        linux: { securityContext: pidOfContainer },
        ...more,
      }) satisfies DeepPartial<ContainerConfig>;
    const output = (text: string, more: DeepPartial<ContainerConfig> = {}) => node.outputOf(pod, script(text, more));
    function newDir(name: string): string {
      const dir = join(hostDir, name);
      mkdirSync(dir);
      return dir;
    }

    test("are writable, read-only, through links, or of single files", async () => {
      const dir = newDir("mounts");
      mkdirSync(join(dir, "real"));
      writeFileSync(join(dir, "real/file"), "content\n");
      symlinkSync("real", join(dir, "link"));
      const mounts = [
        { hostPath: join(dir, "real"), containerPath: "/rw" },
        { hostPath: join(dir, "real"), containerPath: "/ro", readonly: true },
        { hostPath: join(dir, "link"), containerPath: "/linked/deep" },
        { hostPath: join(dir, "real/file"), containerPath: "/etc/one-file" },
        { hostPath: join(dir, "real/file"), containerPath: "/rw-child/file", readonly: true },
      ];
      const text = await output(
        "cat /rw/file /ro/file /linked/deep/file /etc/one-file; echo x >/rw/new; cat /ro/new; touch /ro/y 2>&1; echo y >>/rw-child/file; true",
        { mounts },
      );
      assert.match(text, /(content\n){4}x\ntouch: \/ro\/y: Read-only file system/);
      assert.equal(readFileSync(join(dir, "real/file"), "utf8"), "content\n");
      const id = await node.createContainer(pod, { command: ["true"], mounts });
      const status = await node.containerStatus(id);
      assert.deepEqual(
        status.mounts.map((mount) => [mount.hostPath, mount.containerPath, mount.readonly]),
        mounts.map((mount) => [mount.hostPath, mount.containerPath, mount.readonly ?? false]),
      );
      await node.removeContainer(id);
      assert.ok(existsSync(join(dir, "real/file")), "removing a container leaves what was mounted");
    });

    test("are made where the host has nothing, but not where a link leads nowhere or below a file", async () => {
      const missing = join(hostDir, "missing/dir");
      await node.outputOf(pod, script("echo m >/made/m", { mounts: [{ hostPath: missing, containerPath: "/made" }] }));
      assert.equal(readFileSync(join(missing, "m"), "utf8"), "m\n");
      const { uid, gid, mode } = statSync(missing);
      assert.deepEqual([uid, gid, mode & 0o7777], [0, 0, 0o755]);
      const dangling = join(hostDir, "dangling");
      symlinkSync("nowhere", dangling);
      await rejectsWith(
        Code.InvalidArgument,
        node.createContainer(pod, script("true", { mounts: [{ hostPath: dangling, containerPath: "/data" }] })),
        /dangling .* cannot be made/,
      );
      await rejectsWith(
        Code.InvalidArgument,
        node.createContainer(
          pod,
          script("true", { mounts: [{ hostPath: join(node.configFile, "below"), containerPath: "/data" }] }),
        ),
        /mount source .*config\.toml\/below/,
      );
    });

    test("are refused over a file when they are a directory, and over a directory when they are a file", async () => {
      const dir = newDir("kinds");
      const file = join(dir, "file");
      writeFileSync(file, "");
      for (const [hostPath, containerPath, words] of [
        [dir, "/etc/passwd", /mount at "\/etc\/passwd" in the container: .* is a directory, and the image has a file/],
        [file, "/etc", /mount at "\/etc" in the container: .*file" is a file, and the image has a directory there/],
        [dir, "/etc/passwd/x", /the image has a file at "\/etc\/passwd", and nothing can be below a file/],
      ] as const)
        await rejectsWith(
          Code.InvalidArgument,
          node.createContainer(pod, script("true", { mounts: [{ hostPath, containerPath }] })),
          words,
        );
    });

    test("take the place of the pod's own files", async () => {
      const dir = newDir("etc");
      for (const name of ["hosts", "hostname", "resolv.conf"]) writeFileSync(join(dir, name), `our ${name}\n`);
      const mounts = ["hosts", "hostname", "resolv.conf"].map((name) => ({
        hostPath: join(dir, name),
        containerPath: `/etc/${name}`,
      }));
      assert.equal(
        await output("cat /etc/hosts /etc/hostname /etc/resolv.conf; grep -c ' /etc/hosts ' /proc/self/mountinfo", {
          mounts,
        }),
        "our hosts\nour hostname\nour resolv.conf\n1",
      );
    });

    test("nest in any order, and the last of two at one place counts", async () => {
      const dir = newDir("nested");
      for (const path of ["outer/inner", "inner/deep", "deep", "first"])
        mkdirSync(join(dir, path), { recursive: true });
      for (const path of ["outer", "inner", "deep", "first"]) writeFileSync(join(dir, path, path), "");
      const mounts = [
        { hostPath: join(dir, "deep"), containerPath: "/n/inner/deep" },
        { hostPath: join(dir, "inner"), containerPath: "/n/inner/" },
        { hostPath: join(dir, "first"), containerPath: "/n" },
        { hostPath: join(dir, "outer"), containerPath: "/n/../n", readonly: true },
      ];
      assert.equal(
        await output("ls /n /n/inner /n/inner/deep; grep -c ' /n ' /proc/self/mountinfo", { mounts }),
        "/n:\ninner\nouter\n\n/n/inner:\ndeep\ninner\n\n/n/inner/deep:\ndeep\n1",
      );
    });

    test("are sockets, device nodes and file systems of the host too", async () => {
      const dir = newDir("special");
      const socket = join(dir, "a.sock");
      mkdirSync(join(dir, "memory"));
      const server = createServer().listen(socket);
      await new Promise((resolve) => server.once("listening", resolve));
      execFileSync("mount", ["-t", "tmpfs", "-o", "size=1m", "memory", join(dir, "memory")]);
      try {
        const mounts = [
          { hostPath: socket, containerPath: "/run/app/a.sock" },
          { hostPath: "/dev/null", containerPath: "/sink" },
          { hostPath: join(dir, "memory"), containerPath: "/dev/shm" },
        ];
        const text =
          "test -S /run/app/a.sock && echo x >/sink && test -c /sink && echo ok; df -k /dev/shm | tail -n 1 | tr -s ' ' | cut -d ' ' -f 1-2; grep -c ' /dev/shm ' /proc/self/mountinfo";
        assert.equal(await output(text, { mounts }), "ok\nmemory 1024\n1");
      } finally {
        server.close();
        execFileSync("umount", [join(dir, "memory")]);
      }
    });

    test("of a thousand directories are all there", async (t) => {
      const dir = newDir("many");
      const mounts = Array.from({ length: 1000 }, (_, i) => {
        mkdirSync(join(dir, String(i)));
        return {
          hostPath: join(dir, String(i)),
          containerPath: `/many/${i}`,
          propagation: i % 2 === 0 ? PROPAGATION_PRIVATE : PROPAGATION_HOST_TO_CONTAINER,
        };
      });
      execFileSync("mount", ["--bind", dir, dir]);
      execFileSync("mount", ["--make-rshared", dir]);
      try {
        const startedMs = performance.now();
        const id = await node.runContainer(pod, script("sleep 600", { mounts }));
        t.diagnostic(
          `${runtime}: ${Math.round(performance.now() - startedMs)} ms to create and start a container with 1000 mounts`,
        );
        assert.equal(await node.output(id, "grep -c ' /many/' /proc/self/mountinfo"), "1000\n");
        await node.removeContainer(id);
      } finally {
        execFileSync("umount", ["-R", "-l", dir]);
      }
    });

    test("cannot be led out of the root by links in the image", async () => {
      const outside = newDir("outside");
      const source = newDir("source");
      // The same path inside, as crun makes nothing below a link that leads nowhere.
      const extra = [
        directory(`${node.dir.slice(1)}/`),
        directory(`${outside.slice(1)}/`),
        symlink("escape", outside),
        symlink("up", `../../../../../../..${outside}`),
      ];
      const image = await pull(node, "links", busyboxImage({ extra }));
      for (const link of ["/escape", "/up"]) {
        const mounts = [{ hostPath: source, containerPath: `${link}/into` }];
        assert.equal(
          await node.outputOf(pod, {
            image: { image },
            command: ["sh", "-c", `touch ${link}/into/f; echo in`],
            mounts,
          }),
          "in",
        );
        assert.ok(existsSync(join(source, "f")));
        assert.deepEqual(readdirSync(outside), []);
      }
    });

    test("reach what is behind links of the image that lead nowhere yet", async () => {
      const dir = newDir("behind");
      writeFileSync(join(dir, "f"), "F");
      const image = await pull(
        node,
        "dangling",
        busyboxImage({
          extra: [
            symlink("var/spool", "/data/spool"),
            symlink("etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf"),
            symlink("etc/conf", "../no/such"),
          ],
        }),
      );
      const mounts = [
        { hostPath: dir, containerPath: "/var/spool/app" },
        { hostPath: join(dir, "f"), containerPath: "/etc/conf" },
      ];
      assert.equal(
        await node.outputOf(pod, {
          image: { image },
          command: ["sh", "-c", "cat /data/spool/app/f /no/such && test -e /etc/resolv.conf && echo"],
          mounts,
        }),
        "FF",
      );
    });

    test("show later mounts of the host, of the container, or neither, as propagation says", async () => {
      const dir = newDir("propagation");
      execFileSync("mount", ["--bind", dir, dir]);
      execFileSync("mount", ["--make-rshared", dir]);
      try {
        for (const [propagation, hostIsSeen, containerIsSeen] of [
          [PROPAGATION_PRIVATE, false, false],
          [PROPAGATION_HOST_TO_CONTAINER, true, false],
          [PROPAGATION_BIDIRECTIONAL, true, true],
        ] as const) {
          const security = { securityContext: { ...pidOfContainer, privileged: true } };
          const id = await node.runContainer(
            privilegedPod,
            script("sleep 600", { mounts: [{ hostPath: dir, containerPath: "/m", propagation }], linux: security }),
          );
          const [fromHost, fromContainer] = [`h${propagation}`, `c${propagation}`];
          mkdirSync(join(dir, fromHost));
          mkdirSync(join(dir, fromContainer));
          execFileSync("mount", ["-t", "tmpfs", "none", join(dir, fromHost)]);
          writeFileSync(join(dir, fromHost, "file"), "");
          assert.equal(
            (await node.exec(id, `test -e /m/${fromHost}/file`)).exitCode === 0,
            hostIsSeen,
            `host → container, ${propagation}`,
          );
          await node.output(id, `mount -t tmpfs none /m/${fromContainer} && touch /m/${fromContainer}/file`);
          assert.equal(
            existsSync(join(dir, fromContainer, "file")),
            containerIsSeen,
            `container → host, ${propagation}`,
          );
          await node.removeContainer(id);
          execFileSync("umount", [join(dir, fromHost)]);
          if (containerIsSeen) execFileSync("umount", [join(dir, fromContainer)]);
        }
      } finally {
        execFileSync("umount", ["-R", "-l", dir]);
      }
    });

    test("are refused when their source is not shared as their propagation needs", async () => {
      const dir = newDir("unshared");
      execFileSync("mount", ["--bind", dir, dir]);
      try {
        for (const [made, propagation, wanted] of [
          ["private", PROPAGATION_HOST_TO_CONTAINER, "a shared or slave"],
          ["private", PROPAGATION_BIDIRECTIONAL, "a shared"],
          ["slave", PROPAGATION_BIDIRECTIONAL, "a shared"],
        ] as const) {
          execFileSync("mount", ["--make-private", dir]);
          if (made === "slave") for (const how of ["--make-shared", "--make-slave"]) execFileSync("mount", [how, dir]);
          const create = node.createContainer(
            pod,
            script("true", { mounts: [{ hostPath: dir, containerPath: "/m", propagation }] }),
          );
          await rejectsWith(
            Code.FailedPrecondition,
            create,
            new RegExp(`mount source ${dir} is in ${dir}, which is not ${wanted} mount`),
          );
        }
      } finally {
        execFileSync("umount", [dir]);
      }
    });

    describe("of an image", () => {
      let models: string;
      let modelsId: string;
      before(async () => {
        const base = makeLayer([
          directory("small/"),
          file("small/v1", "old"),
          file("gone", ""),
          file("run.sh", "#!/bin/sh\necho runs\n", { mode: 0o755 }),
        ]);
        const top = makeLayer([
          file("small/v2", "new", { mode: 0o640, uid: 7, gid: 8 }),
          whiteout("gone"),
          symlink("latest", "/small"),
          symlink("out", "../../../../../../../etc"),
          symlink("nowhere", "/no/such"),
          fifo("pipe"),
          directory("etc/"),
          file("etc/mark", "inside"),
        ]);
        models = await pull(node, "models", makeImage([base, top]));
        modelsId = (await node.call("imageStatus", { image: imageSpec(models), verbose: false })).image!.id;
      });

      const mountOf = (image: string, more: object = {}) => ({
        containerPath: "/models",
        readonly: true,
        image: imageSpec(image),
        ...more,
      });

      test("show its files read-only, executable, without what its upper layers took away", async () => {
        const text =
          "cat /models/small/v1 /models/small/v2; echo; stat -c '%a %u %g' /models/small/v2; ls /models; touch /models/x 2>&1; /models/run.sh; grep -c noexec /proc/self/mountinfo >/dev/null; grep ' /models ' /proc/self/mountinfo | cut -d ' ' -f 6";
        const lines = (await output(text, { mounts: [mountOf(models)] })).split("\n");
        assert.deepEqual(lines.slice(0, 2), ["oldnew", "640 7 8"]);
        assert.deepEqual(lines.slice(2, 9), ["etc", "latest", "nowhere", "out", "pipe", "run.sh", "small"]);
        assert.deepEqual(lines.slice(9, 11), ["touch: /models/x: Read-only file system", "runs"]);
        assert.match(lines[11]!, /^ro(,|$)/);
        assert.doesNotMatch(lines[11]!, /noexec/);
      });

      test("show what is at a path in it, also through its links, which never lead out", async () => {
        for (const [imageSubPath, command, expected] of [
          ["small", "cat /models/v2", "new"],
          ["/latest/", "cat /models/v2", "new"],
          ["small/v1", "cat /models", "old"],
          ["out", "cat /models/mark", "inside"],
        ] as const) {
          assert.equal(await output(command, { mounts: [mountOf(models, { imageSubPath })] }), expected, imageSubPath);
        }
        const both = [
          mountOf(models, { containerPath: "/a", imageSubPath: "small" }),
          mountOf(modelsId, { containerPath: "/b" }),
          mountOf(models, { containerPath: "/c" }),
        ];
        assert.equal(await output("cat /a/v1 /b/small/v1 /c/small/v1", { mounts: both }), "oldoldold");
      });

      test("are refused when the image or the path is not there, or for writing", async () => {
        const refused = (code: Code, words: RegExp, mount: object) =>
          rejectsWith(code, node.createContainer(pod, script("true", { mounts: [mount] })), words);
        await refused(
          Code.NotFound,
          /image nothing:1, which is to be mounted, is not on this node; pull it first/,
          mountOf("nothing:1"),
        );
        for (const imageSubPath of ["not-existing", "small/v1/below", "nowhere"])
          await refused(
            Code.NotFound,
            new RegExp(`image_sub_path "${imageSubPath}" of image .*models.*: the image has nothing at this path`),
            mountOf(models, { imageSubPath }),
          );
        await refused(
          Code.InvalidArgument,
          /image_sub_path "pipe" .* is a FIFO/,
          mountOf(models, { imageSubPath: "pipe" }),
        );
        await refused(Code.InvalidArgument, /mounts\[0\]\.readonly/, mountOf(models, { readonly: false }));
      });

      test("are told with the image's id, and keep the image from removal until the container is gone", async () => {
        const image = await pull(node, "kept", makeImage([makeLayer([file("kept", "kept")])]));
        const kept = (await node.call("imageStatus", { image: imageSpec(image), verbose: false })).image!.id;
        const id = await node.runContainer(pod, script("sleep 600", { mounts: [mountOf(image)] }));
        const ids = async () =>
          (await node.containerStatus(id)).mounts.map((mount) => [
            mount.containerPath,
            mount.image?.image,
            mount.image?.imageRef,
          ]);
        assert.deepEqual(await ids(), [["/models", image, kept]]);
        for (const reference of [image, kept, kept.slice(7, 19)]) {
          await rejectsWith(
            Code.FailedPrecondition,
            node.call("removeImage", { image: imageSpec(reference) }),
            new RegExp(`is mounted in container ${id} .*remove that first`),
          );
        }
        await node.stopContainer(id, 0);
        await rejectsWith(
          Code.FailedPrecondition,
          node.call("removeImage", { image: imageSpec(image) }),
          /is mounted in container/,
        );
        await node.removeContainer(id);
        await node.call("removeImage", { image: imageSpec(image) });
        assert.equal((await node.call("imageStatus", { image: imageSpec(image), verbose: false })).image, undefined);
      });
    });

    describe("for the volumes that its image declares", () => {
      const content = () =>
        busyboxImage({
          config: {
            Volumes: {
              "/data": {},
              "/data/inner": {},
              "/new/deep": {},
              "/linked": {},
              "/later": {},
              "/sys/fs/cgroup": {},
            },
          },
          extra: [
            directory("data/", { mode: 0o1770, uid: 33, gid: 44 }),
            file("data/suid", "s", { mode: 0o4755, uid: 33 }),
            hardLink("data/same", "data/suid", { mode: 0o4755, uid: 33 }),
            symlink("data/away", "/etc/passwd"),
            fifo("data/pipe"),
            device("data/null", "character-device", 1, 3, { mode: 0o666 }),
            directory("data/sub/", { mode: 0o700, uid: 5 }),
            file("data/sub/f", "in sub"),
            directory("data/inner/"),
            file("data/inner/f", "inner"),
            directory("real/"),
            file("real/f", "real"),
            symlink("linked", "/../../real"),
            symlink("later", "run/later"),
          ],
        });

      test("hold what the image has there, with owners, modes, links and nodes, and can be written", async () => {
        const image = await pull(node, "volumes", content());
        const id = await node.runContainer(pod, { image: { image }, ...script("sleep 600") });
        const text =
          "stat -c '%n %a %u %g %F' /data /data/suid /data/pipe /data/null /data/sub; stat -c '%h' /data/same; readlink /data/away; cat /data/sub/f /data/inner/f /linked/f; echo; ls /new/deep; echo x >/data/sub/f && echo written; cat /proc/self/mountinfo";
        const lines = (await node.output(id, text)).split("\n");
        assert.deepEqual(lines.slice(0, 9), [
          "/data 1770 33 44 directory",
          "/data/suid 4755 33 0 regular file",
          "/data/pipe 644 0 0 fifo",
          "/data/null 666 0 0 character special file",
          "/data/sub 700 5 0 directory",
          "2",
          "/etc/passwd",
          "in subinnerreal",
          "written",
        ]);
        const targets = lines
          .slice(9)
          .filter((line) => line.includes("/volumes/"))
          .map((line) => line.split(" ")[4]!);
        assert.deepEqual(new Set(targets), new Set(["/data", "/data/inner", "/new/deep", "/real", "/run/later"]));
        const volumes = join(node.root, "containers", id, "volumes");
        assert.equal(readdirSync(volumes).length, 5);
        const data = readdirSync(volumes)
          .map((name) => join(volumes, name))
          .find((dir) => existsSync(join(dir, "suid")))!;
        assert.deepEqual(readdirSync(join(data, "inner")), [], "what another volume covers is not copied");
        await node.removeContainer(id);
        assert.ok(!existsSync(volumes));
        assert.equal(
          await node.outputOf(pod, { image: { image }, command: ["cat", "/data/sub/f"] }),
          "in sub",
          "the next container has volumes of its own",
        );
      });

      test("and the mounts of the config are there with a read-only root too", async () => {
        const image = await pull(node, "volumes", content());
        const mounts = [
          { hostPath: newDir("ro-root"), containerPath: "/not/there" },
          { containerPath: "/img", readonly: true, image: imageSpec(image) },
        ];
        const linux = { securityContext: { ...pidOfContainer, readonlyRootfs: true } };
        const command = [
          "sh",
          "-c",
          "touch /x 2>&1; echo >/data/x && echo >/new/deep/x && echo >/not/there/x && cat /img/real/f",
        ];
        assert.equal(
          await node.outputOf(pod, { image: { image }, command, mounts, linux }),
          "touch: /x: Read-only file system\nreal",
        );
      });

      test("give way to the mounts of the config at or above them", async () => {
        const image = await pull(node, "volumes", content());
        const dir = newDir("disk");
        chownSync(dir, 99, 99);
        const mounts = [{ hostPath: dir, containerPath: "/data" }];
        assert.equal(
          await node.outputOf(pod, {
            image: { image },
            command: ["sh", "-c", "stat -c %u /data; ls /data; grep -c '/volumes/' /proc/self/mountinfo"],
            mounts,
          }),
          "99\n3",
        );
        assert.deepEqual(readdirSync(dir), []);
      });

      test("are refused where the image has a file", async () => {
        const image = await pull(node, "file-volume", busyboxImage({ config: { Volumes: { "/etc/passwd": {} } } }));
        await rejectsWith(
          Code.InvalidArgument,
          node.createContainer(pod, { image: { image } }),
          /volume \/etc\/passwd, which the image declares: .* not a directory/,
        );
      });
    });
  });
}

describe("with other settings", { skip }, () => {
  const refusesBecause = async (node: TestNode, pod: Pod, hostPath: string, setting: string) => {
    await rejectsWith(
      Code.InvalidArgument,
      node.createContainer(pod, { mounts: [{ hostPath, containerPath: "/data" }] }),
      new RegExp(
        `mount source ${hostPath} \\(for /data in the container\\) does not exist, .*${setting} under \\[containers\\]`,
      ),
    );
    assert.ok(!existsSync(hostPath));
  };

  test("no directories are made where the host has nothing", async () => {
    await using node = await TestNode.start({ config: "[containers]\ncreate_missing_mount_sources = false\n" });
    const pod = await node.runPod();
    await refusesBecause(node, pod, join(node.dir, "missing/dir"), "create_missing_mount_sources = false");
    assert.ok(!existsSync(join(node.dir, "missing")));
    symlinkSync("nowhere", join(node.dir, "dangling"));
    await refusesBecause(node, pod, join(node.dir, "dangling"), "create_missing_mount_sources = false");
  });

  test("directories are made but in some places, and the image's volumes are left alone", async () => {
    await using node = await TestNode.start({
      config: '[containers]\nmissing_mount_sources_to_refuse = ["/mnt/disk/", "/srv"]\nimage_volumes = "ignore"\n',
    });
    const pod = await node.runPod();
    for (const place of ["/mnt/disk", "/mnt/disk/dir", "/mnt/./other/../disk/dir"])
      await refusesBecause(node, pod, place, "/mnt/disk in missing_mount_sources_to_refuse");
    const made = join(node.dir, "made");
    const mounts = [
      { hostPath: made, containerPath: "/made" },
      { hostPath: "/srv", containerPath: "/srv" },
    ];
    await node.outputOf(pod, { command: ["sh", "-c", "echo m >/made/m"], mounts });
    assert.ok(existsSync(join(made, "m")), "an existing path is used wherever it is");
    const image = await pull(
      node,
      "volumes",
      busyboxImage({ config: { Volumes: { "/data": {} } }, extra: [directory("data/"), file("data/f", "f")] }),
    );
    assert.equal(
      await node.outputOf(pod, {
        image: { image },
        command: ["sh", "-c", "cat /data/f; grep -c ' /data ' /proc/self/mountinfo; true"],
      }),
      "f0",
    );
  });

  test("/dev/shm has the size of the configuration, or of the pod where it may choose", async () => {
    await using node = await TestNode.start({
      config: "[pods]\nshm_size_bytes = 1048576\nshm_size_annotation = true\n",
    });
    const sizeIn = async (annotations: Record<string, string>) =>
      node.outputOf(await node.runPod({ annotations }), "df -k /dev/shm | tail -n 1 | tr -s ' ' | cut -d ' ' -f 2");
    assert.equal(await sizeIn({}), "1024");
    assert.equal(await sizeIn({ "io.kubernetes.cri-o.ShmSize": "3Mi" }), "3072");
    await rejectsWith(
      Code.InvalidArgument,
      node.runPod({ annotations: { "io.kubernetes.cri-o.ShmSize": "0" } }),
      /ShmSize/,
    );
  });

  test("image mounts and volumes survive a crash of the daemon, and go with the container", async () => {
    await using node = await TestNode.start();
    const pod = await node.runPod();
    const image = await pull(
      node,
      "crash",
      busyboxImage({ config: { Volumes: { "/data": {} } }, extra: [file("mark", "m")] }),
    );
    const id = await node.runContainer(pod, {
      image: { image },
      command: ["sleep", "600"],
      mounts: [{ containerPath: "/img", readonly: true, image: imageSpec(image) }],
    });
    await node.output(id, "echo d >/data/d");
    await node.kill("SIGKILL");
    await node.startAgain();
    await rejectsWith(
      Code.FailedPrecondition,
      node.call("removeImage", { image: imageSpec(image) }),
      /is mounted in container/,
    );
    assert.equal(await node.output(id, "cat /img/mark /data/d"), "md\n");
    assert.equal((await node.containerStatus(id)).mounts[0]?.image?.imageRef, (await node.containerStatus(id)).imageId);
    await node.removeContainer(id);
    assert.deepEqual(readdirSync(join(node.state, "containers")), []);
    assert.deepEqual(readdirSync(join(node.root, "containers")), []);
  });

  test("a host path whose file system does not answer holds up its container alone", async () => {
    await using node = await TestNode.start();
    const pod = await node.runPod();
    const dir = join(node.dir, "dead");
    mkdirSync(dir);
    // A server that reads no request, as an NFS server that is gone.
    const server = openSync("/dev/fuse", "r+");
    try {
      mount({ source: "dead", target: dir, fstype: "fuse", data: `fd=${server},rootmode=40000,user_id=0,group_id=0` });
      const hanging = node.createContainer(pod, {
        command: ["true"],
        mounts: [{ hostPath: join(dir, "data"), containerPath: "/data" }],
      });
      const failure = rejectsWith(Code.InvalidArgument, hanging, new RegExp(`mount source ${dir}/data .*ENOTCONN`));
      const startedMs = performance.now();
      const other = await node.runPod();
      assert.equal(await node.outputOf(other, "echo fine"), "fine");
      assert.ok(performance.now() - startedMs < 20_000);
      closeSync(server);
      await failure;
    } finally {
      execFileSync("umount", ["-l", dir]);
    }
  });

  test("extended attributes of the image are kept in its volumes", async () => {
    await using node = await TestNode.start();
    const pod = await node.runPod();
    const image = await pull(
      node,
      "xattrs",
      busyboxImage({
        config: { Volumes: { "/data": {} } },
        extra: [directory("data/"), file("data/ping", "p", { mode: 0o755, xattrs: { "user.origin": "image" } })],
      }),
    );
    const id = await node.createContainer(pod, { image: { image } });
    assert.equal(lgetxattr(join(node.root, "containers", id, "volumes/0/ping"), "user.origin")?.toString(), "image");
    await node.removeContainer(id);
  });
});
