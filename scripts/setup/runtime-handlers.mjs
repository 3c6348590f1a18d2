/**
 * The runtimes that tests need besides crun and runc: gVisor's runsc, and containerd's shim for runc. Neither can
 * simply be installed with `apt-get install`. If the machine already has them, nothing is done.
 *
 * The shim is unpacked from Debian's package into our own directory, without installing the package. Installing it
 * would enable a service that starts at the next boot, create /var/lib/containerd, which a kubelet's image collection
 * uses, and on a machine with Docker's containerd.io remove that package with everything that runs on it. Our directory
 * is not in PATH, because a containerd that is installed later takes the first shim in PATH and must not find our old
 * one.
 *
 * runsc is installed as a package: it is one program without services, configuration or dependencies. The version in
 * Debian 12 is from 2022 and hangs on today's kernels, so it comes from bookworm-backports. apt gets that suite for one
 * call only, with lists in a temporary directory, on the mirror that the machine uses; the machine's sources and lists
 * do not change.
 */
import {
  accessSync,
  chmodSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { apt, run, SetupError, tail } from "./apt.mjs";

/** Where tests find what setup unpacked; testkit's runtime-binary.ts names it too. */
const ownDir = "/usr/local/lib/keelson-setup";
const shimName = "containerd-shim-runc-v2";
const retryAfterMs = 24 * 3600_000;

/** `root` is the root of another file system than the machine's, for tests. */
export function findProgram(name, root = "") {
  const dirs = root === "" ? (process.env.PATH ?? "").split(delimiter) : [];
  return [...dirs, "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"]
    .map((dir) => join(root, dir, name))
    .find(isProgram);
}

export function shimIsThere(root = "") {
  return findProgram(shimName, root) !== undefined || isProgram(join(root, ownDir, shimName));
}

/** Needs up-to-date package lists. Throws a SetupError when the package is not available. */
export function unpackShim(root = "") {
  const dir = join(root, ownDir);
  mkdirSync(dir, { recursive: true });
  // Beside its final place, so that the rename is atomic, and readable for apt's own user, who downloads.
  const temporary = mkdtempSync(join(dir, "unpack-"));
  try {
    chmodSync(temporary, 0o777);
    apt(["download", "containerd"], { cwd: temporary });
    const unpacked = run(
      "sh",
      ["-c", `dpkg-deb --fsys-tarfile containerd_*.deb | tar -x ./usr/bin/${shimName}`],
      {},
      { cwd: temporary },
    );
    const binary = join(temporary, "usr/bin", shimName);
    if (unpacked.status !== 0 || !isProgram(binary)) {
      throw new SetupError(
        "containerd's shim",
        `the package containerd has no usr/bin/${shimName}: ${tail(unpacked.output)}`,
        `Install a containerd that has ${shimName}, so that it is in PATH.`,
      );
    }
    renameSync(binary, join(dir, shimName));
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}

/** Whether runsc is installed, or could not be installed a short while ago. */
export function runscIsSettled({ root = "", retry = false } = {}) {
  if (findProgram("runsc", root) !== undefined) return true;
  const note = absenceNote(root);
  return !retry && existsSync(note) && Date.now() - statSync(note).mtimeMs < retryAfterMs;
}

/**
 * Installs runsc, or records why it cannot, so that tests can say why they are skipped. Returns the reason; undefined
 * when runsc is installed. Never throws for what the machine or its network lack: gVisor is only one of the handlers.
 */
export function installRunsc({ root = "", release = debianRelease() } = {}) {
  const note = absenceNote(root);
  const reason =
    tryRunsc(release) ??
    (findProgram("runsc", root) === undefined ? "the package runsc is installed, but has no program runsc" : undefined);
  rmSync(note, { force: true });
  if (reason !== undefined) {
    mkdirSync(join(root, ownDir), { recursive: true });
    writeFileSync(note, `${reason}\n`);
  }
  return reason;
}

function tryRunsc(release) {
  const install = ["install", "-y", "--no-install-recommends", "--no-remove", "runsc"];
  // Releases after Debian 12 have a version that is new enough.
  if (release !== "bookworm") return attempt(`Debian ${release}`, () => apt(install, { attempts: 1 }));
  const mirror = debianMirror(release);
  if (mirror === undefined) return "apt's sources have no mirror of Debian 12, which would have bookworm-backports";
  const temporary = mkdtempSync(join(tmpdir(), "keelson-setup-"));
  try {
    chmodSync(temporary, 0o755);
    for (const dir of ["lists", "archives", "sources"]) mkdirSync(join(temporary, dir));
    writeFileSync(join(temporary, "sources/backports.list"), `deb ${mirror} ${release}-backports main\n`);
    const settings = {
      "Dir::Etc::sourcelist": "/dev/null",
      "Dir::Etc::sourceparts": join(temporary, "sources"),
      "Dir::State::lists": join(temporary, "lists"),
      "Dir::Cache::archives": join(temporary, "archives"),
      "Dir::Cache::pkgcache": "",
      "Dir::Cache::srcpkgcache": "",
      // Without it, apt only warns of an index that it cannot fetch.
      "APT::Update::Error-Mode": "any",
    };
    const options = Object.entries(settings).flatMap(([key, value]) => ["-o", `${key}=${value}`]);
    return attempt(`${release}-backports on ${withoutPassword(mirror)}`, () => {
      apt([...options, "update"], { attempts: 1 });
      apt([...options, ...install], { attempts: 1 });
    });
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}

function attempt(source, work) {
  try {
    work();
    return undefined;
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    const lines = error.problem.split("\n");
    return `apt-get cannot install runsc from ${source}: ${lines.find((line) => line.startsWith("E: ")) ?? lines.at(-1)}`;
  }
}

/** The archive from which this machine gets its Debian; backports are on the same mirrors. */
function debianMirror(release) {
  const { status, output } = run("apt-get", [
    "indextargets",
    "--format",
    "$(RELEASE) $(REPO_URI)",
    "Created-By: Packages",
    "Component: main",
  ]);
  if (status !== 0) return undefined;
  const targets = output.split("\n").map((line) => line.split(" "));
  return [`${release}-backports`, release]
    .map((name) => targets.find((target) => target[0] === name)?.[1])
    .find((uri) => uri !== undefined);
}

function withoutPassword(uri) {
  return uri.replace(/\/\/[^/@]*@/, "//");
}

function debianRelease() {
  const file = "/etc/os-release";
  return /^VERSION_CODENAME="?([^"\n]+)/m.exec(existsSync(file) ? readFileSync(file, "utf8") : "")?.[1] ?? "of no name";
}

function absenceNote(root) {
  return join(root, ownDir, "runsc.absent");
}

function isProgram(path) {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}
