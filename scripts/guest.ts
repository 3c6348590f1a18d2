/**
 * `npm run test:guest`: host tests in a virtual machine that has what this one may lack: cgroup v2, systemd, AppArmor,
 * all capabilities. QEMU emulates it in software, so it needs neither KVM nor anything else of this machine, but a test
 * takes ten times longer. Its image is made once (guest/image.ts); the repository goes in as it is (guest/disk.ts). The
 * output is the test runner's, once for each cgroup driver. Exits with 0 when all tests passed.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { messageOf } from "@keelson/base/status.ts";
import { repositoryDisk } from "./guest/disk.ts";
import { guestImage } from "./guest/image.ts";
import { runGuest } from "./guest/machine.ts";
import { type GuestOptions, parseOptions } from "./guest/options.ts";

const interrupt = new AbortController();
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
  process.on(signal, () => interrupt.abort(new Error(signal)));
const startedAtMs = performance.now();
try {
  process.exitCode = await main(parseOptions(process.argv.slice(2)));
} catch (error) {
  console.error(`test:guest: ${messageOf(error)}`);
  process.exitCode = 2;
}

async function main(options: GuestOptions): Promise<number> {
  if (process.getuid?.() !== 0) throw new Error("it needs root to make the guest's root file system");
  const image = guestImage(say);
  const work = mkdtempSync(join(tmpdir(), "keelson-guest-"));
  try {
    const disk = repositoryDisk(join(import.meta.dirname, ".."), work, options);
    say(`booting; it may take ${options.limitMs / 60_000} minutes`);
    const end = await runGuest({ image, disk, work, limitMs: options.limitMs }, interrupt.signal);
    say("ended");
    if ("exitCode" in end) return end.exitCode;
    throw new Error(end.problem);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

function say(text: string): void {
  console.log(`[${((performance.now() - startedAtMs) / 1000).toFixed(0)} s] guest: ${text}`);
}
