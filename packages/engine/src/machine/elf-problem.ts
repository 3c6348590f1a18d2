/**
 * What may keep the kernel from running an ELF program: its loader, which the caller looks for; another machine that it
 * was built for; a truncated file.
 */
type ElfProblem = { is: "loader"; path: string } | { is: "machine"; built: string; here: string } | { is: "damaged" };

/** elf(5), e_machine: the names that images use for architectures. */
const machines: ReadonlyMap<number, string> = new Map([
  [3, "386"],
  [8, "mips"],
  [20, "ppc"],
  [21, "ppc64le"],
  [22, "s390x"],
  [40, "arm"],
  [62, "amd64"],
  [183, "arm64"],
  [243, "riscv64"],
  [258, "loong64"],
]);

/** What each machine, by Node's `process.arch`, can run. */
const runnable: Readonly<Record<string, readonly string[]>> = {
  x64: ["amd64", "386"],
  arm64: ["arm64", "arm"],
  ppc64: ["ppc64le"],
  riscv64: ["riscv64"],
  s390x: ["s390x"],
  loong64: ["loong64"],
};

/** elf(5), p_type. */
const PT_INTERP = 3;
/** More than any linker makes. */
const maxProgramHeaders = 256;

/** @param read returns the bytes at an offset of the file, fewer at its end. */
export async function elfProblem(
  read: (at: number, length: number) => Promise<Buffer>,
  arch: string,
): Promise<ElfProblem | undefined> {
  const header = await read(0, 64);
  const is64 = header[4] === 2;
  const isLittle = header[5] === 1;
  if (header.length < (is64 ? 64 : 52)) return { is: "damaged" };
  const number = (buffer: Buffer, at: number, length: number): number =>
    isLittle ? buffer.readUIntLE(at, length) : buffer.readUIntBE(at, length);
  // 48 bits are more than a file's size; the rest of a 64-bit number is 0 in any file that is not damaged.
  const word = (buffer: Buffer, at: number): number =>
    is64 ? number(buffer, isLittle ? at : at + 2, 6) : number(buffer, at, 4);
  const problem = machineProblem(number(header, 18, 2), arch);
  if (problem !== undefined) return problem;
  const tableAt = word(header, is64 ? 32 : 28);
  const entrySize = number(header, is64 ? 54 : 42, 2);
  const entries = Math.min(number(header, is64 ? 56 : 44, 2), maxProgramHeaders);
  for (let i = 0; i < entries; i++) {
    const entry = await read(tableAt + i * entrySize, is64 ? 56 : 32);
    if (entry.length < (is64 ? 56 : 32)) return { is: "damaged" };
    if (number(entry, 0, 4) !== PT_INTERP) continue;
    const path = await read(word(entry, is64 ? 8 : 4), Math.min(word(entry, is64 ? 32 : 16), 4096));
    return { is: "loader", path: path.toString("utf8").split("\0")[0]! };
  }
  return undefined;
}

function machineProblem(machine: number, arch: string): ElfProblem | undefined {
  const here = runnable[arch];
  const built = machines.get(machine) ?? `machine ${machine}`;
  return here === undefined || here.includes(built) ? undefined : { is: "machine", built, here: here[0]! };
}
