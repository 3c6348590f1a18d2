import { spawn } from "node:child_process";
import { closeSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { GuestImage } from "./image.ts";

export interface GuestRun {
  readonly image: GuestImage;
  /** The disk with the repository. */
  readonly disk: string;
  /** The directory for the console's text and the exit code. */
  readonly work: string;
  readonly limitMs: number;
}

/** How the run in the guest ended: its exit code, or why it has none, with the end of its console. */
export type GuestEnd = { readonly exitCode: number } | { readonly problem: string };

/**
 * Boots the guest; the output of its tests goes to our stdout. Nothing that it writes to its disks is kept. QEMU is
 * killed when the time is up, when `signal` aborts, and when this process ends for any reason.
 */
export async function runGuest({ image, disk, work, limitMs }: GuestRun, signal: AbortSignal): Promise<GuestEnd> {
  const consoleFile = join(work, "console.log");
  const exitFile = join(work, "exit");
  closeSync(openSync(exitFile, "w"));
  const qemu = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-nographic", "-no-reboot"];
  // A microvm, KVM and -cpu max hang on some machines; Nehalem is the oldest CPU that Node is built for.
  qemu.push("-M", "q35", "-cpu", "Nehalem", "-accel", "tcg,thread=multi", "-smp", "2", "-m", "3072");
  qemu.push("-kernel", image.kernel, "-initrd", image.initrd);
  qemu.push("-append", "console=ttyS0 quiet panic=-1 apparmor=1 security=apparmor systemd.show_status=false");
  qemu.push("-serial", `file:${consoleFile}`);
  for (const file of [image.root, disk]) qemu.push("-drive", `file=${file},format=raw,if=virtio,snapshot=on`);
  qemu.push("-device", "virtio-rng-pci", "-device", "virtio-serial");
  qemu.push("-chardev", "stdio,id=output,signal=off", "-device", "virtserialport,chardev=output,nr=1");
  qemu.push("-chardev", `file,id=exit,path=${exitFile}`, "-device", "virtserialport,chardev=exit,nr=2");
  // QEMU would take the end of its stdin for a host that is gone, and the guest's writes would wait forever.
  const child = spawn("setpriv", ["--pdeathsig", "KILL", "nice", "-n", "10", ...qemu], {
    stdio: ["pipe", "inherit", "inherit"],
  });
  using _ = ender(child, limitMs, signal);
  const { code, endedBy } = await new Promise<{ code: number | null; endedBy: NodeJS.Signals | null }>(
    (resolve, reject) => {
      child.once("error", reject).once("close", (exitCode, by) => resolve({ code: exitCode, endedBy: by }));
    },
  );
  const exitCode = /^\d+$/m.exec(readFileSync(exitFile, "utf8"))?.[0];
  if (exitCode !== undefined) return { exitCode: Number(exitCode) };
  const why = signal.aborted
    ? "interrupted"
    : endedBy !== null
      ? `killed after ${limitMs / 60_000} minutes`
      : `QEMU ended with ${code} before the tests did`;
  return { problem: `${why}; its console said last:\n${lastLines(consoleFile)}` };
}

function ender(child: ReturnType<typeof spawn>, limitMs: number, signal: AbortSignal): Disposable {
  const kill = (): void => void child.kill("SIGKILL");
  const timer = setTimeout(kill, limitMs);
  signal.addEventListener("abort", kill, { once: true });
  return {
    [Symbol.dispose]: () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", kill);
      kill();
    },
  };
}

function lastLines(file: string): string {
  try {
    return readFileSync(file, "utf8").trimEnd().split("\n").slice(-30).join("\n");
  } catch {
    return "nothing";
  }
}
