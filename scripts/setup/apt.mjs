import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";

const policyFile = "/usr/sbin/policy-rc.d";
const policyMark = "keelson setup";

/** What went wrong in a step of the setup, and what to do about it. */
export class SetupError extends Error {
  constructor(step, problem, advice) {
    super(`keelson setup: ${step}: ${problem}\n${advice}`);
    this.problem = problem;
  }
}

/** Runs apt-get; throws a SetupError with the end of its output when it fails `attempts` times. */
export function apt(args, { attempts = 3, cwd } = {}) {
  // apt waits for dpkg's lock, but not for that of its lists, and mirrors fail now and then. It has one exit code for
  // all errors, so only its text, in English, shows that a lock is held.
  for (let attempt = 1; ; attempt++) {
    const { status, output } = run(
      "apt-get",
      ["-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3", ...args],
      {
        DEBIAN_FRONTEND: "noninteractive",
        NEEDRESTART_SUSPEND: "1",
        LC_ALL: "C",
      },
      { cwd },
    );
    if (status === 0) return;
    const locked = /Could not get lock|Unable to lock|is another process using it/.test(output);
    if (attempt >= (locked ? 60 : attempts)) {
      throw new SetupError(
        `apt-get ${args.join(" ")}`,
        tail(output),
        "Fix apt (network, sources, locks) and run setup again.",
      );
    }
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5000);
  }
}

/** Runs `work`, and prevents packages that it installs from starting services. */
export function withoutServices(work) {
  // A policy that exists is respected; otherwise no service starts (deb-systemd-invoke(1), invoke-rc.d(8)).
  const ownPolicy = !existsSync(policyFile);
  if (ownPolicy) {
    writeFileSync(policyFile, `#!/bin/sh\n# ${policyMark}: only while it installs packages\nexit 101\n`, {
      flag: "wx",
    });
    chmodSync(policyFile, 0o755);
  }
  // apt-get is in our process group and gets the signal itself; we only have to live longer.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => {});
  try {
    return work();
  } finally {
    if (ownPolicy) rmSync(policyFile, { force: true });
  }
}

/** Removes the policy of a setup that was killed while apt was running. */
export function removeOldPolicy() {
  if (existsSync(policyFile) && readFileSync(policyFile, "utf8").includes(policyMark)) rmSync(policyFile);
}

export function run(command, args, env = {}, options = {}) {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    encoding: "utf8",
    env: { ...process.env, ...env },
    maxBuffer: 64 << 20,
    stdio: ["ignore", "pipe", "pipe"],
    ...options,
  });
  return { status, output: error ? error.message : `${stdout}${stderr}` };
}

export function tail(output) {
  return output.trim().split("\n").slice(-15).join("\n");
}
