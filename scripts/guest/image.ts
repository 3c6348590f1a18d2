/**
 * The parts of the guest that stay the same from run to run: Debian's cloud kernel, an initial file system that finds
 * the disks, and a root of Debian 12 with systemd. They are made once, with apt and debootstrap from the mirror that
 * this machine's apt uses, and kept under a key of what went in.
 */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { homedir } from "node:os";
import { basename, join } from "node:path";

/** Paths of the three files that QEMU starts from. */
export interface GuestImage {
  readonly kernel: string;
  readonly initrd: string;
  /** An ext4 file system. */
  readonly root: string;
}

const filesDir = join(import.meta.dirname, "files");
const suite = "bookworm";
const kernelPackage = "linux-image-cloud-amd64";
// Besides libc, the pinned Node needs libatomic1.
const rootPackages = [
  ..."systemd systemd-sysv dbus kmod procps util-linux libatomic1".split(" "),
  ..."crun runc conmon containernetworking-plugins iptables iproute2 apparmor busybox-static catatonit".split(" "),
];
/** The modules that the initial file system needs for the disks and the ports, in the order of insmod. */
const bootModules =
  "virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_blk virtio_console virtio-rng".split(
    " ",
  );
/** Units that wait for what the guest does not have, or disturb its tests. */
const maskedUnits =
  "getty.target apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer systemd-tmpfiles-clean.timer".split(
    " ",
  );

/** Makes the image if it does not exist: a minute or two, about 400 MB. */
export function guestImage(say: (text: string) => void): GuestImage {
  const dir = join(process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache"), "keelson/guest");
  const made = join(dir, imageKey());
  const image = { kernel: join(made, "vmlinuz"), initrd: join(made, "initrd"), root: join(made, "root.ext4") };
  if (existsSync(made)) return image;
  mkdirSync(dir, { recursive: true });
  const work = mkdtempSync(join(dir, "work-"));
  try {
    makeImage(work, say);
    // The rename makes it appear complete; if somebody else has made it meanwhile, it is the same.
    if (!existsSync(made)) renameSync(join(work, "image"), made);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  // Older images are useless. A run that has one open keeps it until it ends.
  for (const name of readdirSync(dir))
    if (/^[0-9a-f]{16}$/.test(name) && name !== basename(made)) rmSync(join(dir, name), { recursive: true });
  return image;
}

function imageKey(): string {
  const hash = createHash("sha256").update(readFileSync(import.meta.filename));
  for (const name of ["init", "keelson-tests.service"]) hash.update(readFileSync(join(filesDir, name)));
  return hash.digest("hex").slice(0, 16);
}

function makeImage(work: string, say: (text: string) => void): void {
  const root = join(work, "root");
  const image = join(work, "image");
  mkdirSync(image);
  say(`debootstrap ${suite} with ${rootPackages.join(" ")}`);
  run("debootstrap", ["--variant=minbase", `--include=${rootPackages.join(",")}`, suite, root, ...mirror()], work);
  say(`unpack ${kernelPackage}`);
  const release = unpackKernel(work, root);
  renameSync(globSync(join(work, "kernel/boot/vmlinuz-*"))[0]!, join(image, "vmlinuz"));
  say("make the images");
  writeFileSync(join(image, "initrd"), initrd(work, join(root, "lib/modules", release)));
  prepareRoot(root);
  makeExt4(root, join(image, "root.ext4"), 2 * 1024 ** 3);
}

/** The URL from which apt gets Debian's main archive; without one, debootstrap chooses. */
function mirror(): string[] {
  const lines = run(
    "apt-get",
    [
      "indextargets",
      "--format",
      "$(REPO_URI)",
      "Created-By: Packages",
      `Codename: ${suite}`,
      "Component: main",
      "Origin: Debian",
    ],
    "/",
  );
  const first = lines.split("\n").find((line) => /^https?:/.test(line));
  return first === undefined ? [] : [first];
}

/** Unpacks the kernel that the meta package names, without installing it on this machine. Returns its release. */
function unpackKernel(work: string, root: string): string {
  const depends = run("apt-cache", ["depends", "--important", kernelPackage], "/");
  const name = /Depends: (linux-image-\S+)/.exec(depends)?.[1];
  if (name === undefined) throw new Error(`apt knows no ${kernelPackage}: run apt-get update`);
  run("apt-get", ["download", name], work);
  run("dpkg-deb", ["-x", basename(globSync(join(work, `${name}_*.deb`))[0]!), "kernel"], work);
  const release = readdirSync(join(work, "kernel/lib/modules"))[0]!;
  run("cp", ["-a", join(work, "kernel/lib/modules"), join(root, "lib/")], "/");
  run("chroot", [root, "depmod", "-a", release], "/");
  return release;
}

/** busybox, the modules and our init, packed as the kernel expects (initramfs buffer format: newc). */
function initrd(work: string, modulesDir: string): Buffer {
  const dir = join(work, "initrd");
  for (const name of ["bin", "dev", "root", "modules"]) mkdirSync(join(dir, name), { recursive: true });
  copyFileSync("/bin/busybox", join(dir, "bin/busybox"));
  copyFileSync(join(filesDir, "init"), join(dir, "init"));
  chmodSync(join(dir, "init"), 0o755);
  const found = bootModules.map((module) => globSync(join(modulesDir, `kernel/**/${module}.ko`))[0]);
  const missing = bootModules.filter((_, i) => found[i] === undefined);
  if (missing.length > 0) throw new Error(`the kernel of ${kernelPackage} has no module ${missing.join(", ")}`);
  for (const file of found) copyFileSync(file!, join(dir, "modules", basename(file!)));
  writeFileSync(join(dir, "modules/order"), bootModules.map((module) => `${module}.ko\n`).join(""));
  return execFileSync("sh", ["-c", "find . | busybox cpio -o -H newc 2>/dev/null | gzip -1"], {
    cwd: dir,
    maxBuffer: 64 << 20,
  });
}

function prepareRoot(root: string): void {
  const units = join(root, "etc/systemd/system");
  for (const unit of maskedUnits) {
    rmSync(join(units, unit), { force: true });
    symlinkSync("/dev/null", join(units, unit));
  }
  copyFileSync(join(filesDir, "keelson-tests.service"), join(units, "keelson-tests.service"));
  mkdirSync(join(units, "multi-user.target.wants"), { recursive: true });
  symlinkSync("../keelson-tests.service", join(units, "multi-user.target.wants/keelson-tests.service"));
  mkdirSync(join(root, "keelson"));
  writeFileSync(join(root, "etc/hostname"), "guest\n");
  writeFileSync(join(root, "etc/resolv.conf"), "");
  for (const path of ["var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale"])
    rmSync(join(root, path), { recursive: true, force: true });
}

/** Makes a file with an ext4 file system from a directory, without mounting anything. */
export function makeExt4(dir: string, file: string, sizeBytes: number): void {
  writeFileSync(file, "");
  truncateSync(file, sizeBytes);
  run("mkfs.ext4", ["-q", "-F", "-O", "^has_journal", "-m", "0", "-d", dir, file], "/");
}

/** Runs a program and returns its stdout. The error of a failure has its output. */
function run(command: string, args: readonly string[], cwd: string): string {
  try {
    return execFileSync(command, args, {
      cwd,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
      maxBuffer: 64 << 20,
    });
  } catch (error) {
    const { stdout = "", stderr = "" } = error as { stdout?: string; stderr?: string };
    throw new Error(`${command} ${args.join(" ")}: ${`${stdout}${stderr}`.trim().split("\n").slice(-15).join("\n")}`, {
      cause: error,
    });
  }
}
