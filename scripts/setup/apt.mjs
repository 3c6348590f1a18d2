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

/** Runs apt-get to its end; throws a SetupError with the end of what it said when it fails `attempts` times. */
export function apt(args, { attempts = 3, cwd } = {}) {
  // apt waits for dpkg's lock by itself, but not for that of its lists; mirrors fail now and then.
  for (let attempt = 1; ; attempt++) {
    const { status, output } = run(
      "apt-get",
      ["-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3", ...args],
      {
        DEBIAN_FRONTEND: "noninteractive",
        NEEDRESTART_SUSPEND: "1",
      },
      { cwd },
    );
    if (status === 0) return;
    const locked = /Could not get lock|Unable to lock|is another process using it/.test(output);
    if (attempt >= (locked ? 60 : attempts)) {
      throw new SetupError(
        `apt-get ${args.join(" ")}`,
        tail(output),
        "Mend apt (network, sources, locks) and run setup again.",
      );
    }
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5000);
  }
}

/** What `work` returns; no package that it installs can start a service. */
export function withoutServices(work) {
  // Whoever has a policy of their own decides; otherwise no service starts (deb-systemd-invoke(1), invoke-rc.d(8)).
  const ownPolicy = !existsSync(policyFile);
  if (ownPolicy) {
    writeFileSync(policyFile, `#!/bin/sh\n# ${policyMark}: only while it installs packages\nexit 101\n`, {
      flag: "wx",
    });
    chmodSync(policyFile, 0o755);
  }
  // apt-get is in our process group and gets the signal itself; we only have to outlive it.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => {});
  try {
    return work();
  } finally {
    if (ownPolicy) rmSync(policyFile, { force: true });
  }
}

/** A setup that was killed while apt ran has left its policy behind. */
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
