import { statSync } from "node:fs";
import { basename } from "node:path";
import type { Log } from "@keelson/base/log.ts";
import { isErrno } from "@keelson/linux/errno.ts";
import { run } from "@keelson/linux/run.ts";
import type { ProgramCheck, ProgramToCheck } from "@keelson/runtimes/program-check.ts";
import { DebianPackages } from "./debian-packages.ts";
import { type InstalledVersion, isVulnerable } from "./is-vulnerable.ts";
import { type KnownHole, knownHoles, type Program, programs } from "./known-holes.ts";
import { compareVersions, parseVersion, upstreamOf } from "./version-order.ts";

/** A program on this machine that has known holes. */
export interface VulnerableProgram {
  readonly program: Program;
  readonly path: string;
  /** With the distribution's revision, where it came in a package of Debian's kind. */
  readonly version: string;
  readonly holes: readonly KnownHole[];
}

export interface ProgramChecksOptions {
  readonly log: Log;
  /** Whether programs with known holes must not be used. */
  readonly refuses: boolean;
  /** Where dpkg keeps its files. */
  readonly dpkgDir?: string;
  /** When it aborts, no program is asked any more. */
  readonly ending?: AbortSignal;
}

/** How long a program may take to say its version, in ms, and how much of that is read. */
const answerTimeoutMs = 2000;
const maxAnswerBytes = 4096;

/** The packages of Debian and its like that are not named after their programs. */
const packageNames: Partial<Record<Program, string>> = {
  portmap: "containernetworking-plugins",
  bridge: "containernetworking-plugins",
};

interface Looked {
  readonly identity: string;
  readonly done: Promise<void>;
}

/** Compares the programs that keelsond executes with the table of known holes, again when one is replaced. */
export class ProgramChecks implements ProgramCheck {
  readonly #o: ProgramChecksOptions;
  readonly #packages: DebianPackages;
  readonly #looked = new Map<string, Looked>();
  readonly #vulnerable = new Map<string, VulnerableProgram>();

  constructor(options: ProgramChecksOptions) {
    this.#o = options;
    this.#packages = new DebianPackages(options.dpkgDir ?? "/var/lib/dpkg");
  }

  get refuses(): boolean {
    return this.#o.refuses;
  }

  async look(asked: readonly ProgramToCheck[]): Promise<void> {
    await Promise.all(asked.map((program) => this.#lookAt(program)));
  }

  refusal(path: string): string | undefined {
    const vulnerable = this.#vulnerable.get(path);
    if (vulnerable === undefined || !this.#o.refuses) return undefined;
    return `${path}: ${sentenceOf(vulnerable)}, or set security.refuse_known_vulnerable to false`;
  }

  /** Those that have known holes, by their paths. */
  found(): readonly VulnerableProgram[] {
    return [...this.#vulnerable.values()].sort((a, b) => (a.path < b.path ? -1 : 1));
  }

  #lookAt(program: ProgramToCheck): Promise<void> {
    const identity = identityOf(program.path);
    const looked = this.#looked.get(program.path);
    if (looked?.identity === identity) return looked.done;
    const done = this.#check(program);
    this.#looked.set(program.path, { identity, done });
    return done;
  }

  async #check({ path, answer }: ProgramToCheck): Promise<void> {
    try {
      const { program, installed } = await this.#identify(path, answer);
      this.#vulnerable.delete(path);
      if (program === undefined) return;
      const holes = knownHoles.filter((hole) => hole.program === program && isVulnerable(hole, installed));
      if (holes.length === 0) return;
      const vulnerable = { program, path, version: installed.package ?? installed.own ?? "", holes };
      this.#vulnerable.set(path, vulnerable);
      const { version } = vulnerable;
      this.#o.log.warn({ program, path, version, advisories: advisoriesOf(vulnerable) }, sentenceOf(vulnerable));
    } catch (error) {
      this.#o.log.debug({ path, err: error }, `${path}: its version is not known`);
    }
  }

  /** Which program it is, and its version by itself and by its package. */
  async #identify(
    path: string,
    answer: string | undefined,
  ): Promise<{ program: Program | undefined; installed: InstalledVersion }> {
    const name = programs.find((program) => program === basename(path));
    const fromPackage = name && (await this.#packages.versionOf(packageNames[name] ?? name, path));
    // What a wrapper does with the question is not for us to find out.
    if (name === undefined && answer === undefined)
      return { program: undefined, installed: { own: undefined, package: undefined } };
    // A program of a package need not be executed to be known.
    if (fromPackage !== undefined && answer === undefined)
      return { program: name, installed: { own: undefined, package: fromPackage } };
    const said = versionSaid(answer ?? (await this.#ask(path)));
    const { program = name, version: own } = said;
    // Somebody may have put another program in the package's place.
    const isOfPackage = program === name && isSameRelease(own, fromPackage);
    return { program, installed: { own, package: isOfPackage ? fromPackage : undefined } };
  }

  async #ask(path: string): Promise<string> {
    const { stdout, stderr } = await run(
      {
        file: path,
        args: ["--version"],
        env: { PATH: process.env["PATH"] },
        stdoutLimitBytes: maxAnswerBytes,
        stderrLimitBytes: maxAnswerBytes,
        timeoutMs: answerTimeoutMs,
      },
      this.#o.ending,
    );
    return `${stdout.toString("latin1")}\n${stderr.toString("latin1")}`;
  }
}

/** What a program says of itself; CNI plugins say it on stderr, and in another way. */
export function versionSaid(answer: string): { program?: Program; version: string | undefined } {
  const match =
    /^(?:(runc|crun|conmon|runsc) version|CNI (portmap|bridge) plugin(?: version)?) +([\w.+~-]{1,100})\s*$/m.exec(
      answer.slice(0, 2 * maxAnswerBytes + 1),
    );
  if (match === null) return { version: undefined };
  const version = parseVersion(match[3]!) === undefined ? undefined : match[3]!;
  return { program: (match[1] ?? match[2]) as Program, version };
}

/** Debian adds +ds1 to the versions of sources that it has changed, and the program may know that or not. */
function isSameRelease(own: string | undefined, fromPackage: string | undefined): boolean {
  if (own === undefined || fromPackage === undefined) return true;
  const [said, packaged] = [parseVersion(own)!, upstreamOf(fromPackage)];
  if (packaged === undefined) return false;
  return compareVersions(withoutRepacking(said), withoutRepacking(packaged)) === 0;
}

function withoutRepacking(version: string): string {
  return version.replace(/\+(ds|dfsg)[.\d]*$/, "");
}

function advisoriesOf({ holes }: VulnerableProgram): string[] {
  return holes.flatMap(({ advisories }) => advisories);
}

/** "runc 1.1.5 has known holes: CVE-…; install …". */
function sentenceOf(vulnerable: VulnerableProgram): string {
  const { program, version, holes } = vulnerable;
  const newest = holes.reduce((a, b) => (newestFixOf(a, b) === a ? a : b));
  const what = ["portmap", "bridge"].includes(program) ? `the CNI plugin ${program}` : program;
  return `${what} ${version} has known holes: ${advisoriesOf(vulnerable).join(", ")}; install a release that has them closed (${newest.fixedIn.join(", ")} or newer)`;
}

/** Which of the two was closed last. */
function newestFixOf(a: KnownHole, b: KnownHole): KnownHole {
  const [x, y] = [a, b].map(({ fixedIn }) => parseVersion(fixedIn.at(-1)!)!) as [string, string];
  return compareVersions(x, y) >= 0 ? a : b;
}

function identityOf(path: string): string {
  try {
    const { dev, ino, size, mtimeNs } = statSync(path, { bigint: true });
    return [dev, ino, size, mtimeNs].join(":");
  } catch (error) {
    if (isErrno(error)) return "none";
    throw error;
  }
}
