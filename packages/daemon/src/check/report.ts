import type { Finding } from "./finding.ts";
import type { CheckObserver, CheckReport, Outcome } from "./run-check.ts";

/** Writes a line for each finding as soon as it is found, and one for its outcome. */
export function textObserver(root: string, write: (text: string) => void): CheckObserver {
  return {
    started: (daemonPid) =>
      write(daemonPid === undefined ? `checking ${root}\n` : `checking ${root} beside keelsond (pid ${daemonPid})\n`),
    found: (finding) => write(`${lineOf(finding)}\n`),
    ended: (_finding, outcome) => write(`  ${outcomeLine(outcome)}\n`),
  };
}

/** The closing lines. */
export function summaryOf({ counts, findings, setAside }: CheckReport): string {
  const repaired = findings.filter(({ outcome }) => outcome?.is === "repaired").length;
  const looked = `${counted(counts.pods, "pod")}, ${counted(counts.containers, "container")}, ${counted(counts.images, "image")}, ${counted(counts.layers, "layer")}`;
  const aside =
    setAside === 0
      ? ""
      : `the table \`damaged\` of the database keeps ${counted(setAside, "record")} that could not be read and ${setAside === 1 ? "was" : "were"} replaced; look at ${setAside === 1 ? "it" : "them"} and delete ${setAside === 1 ? "it" : "them"}\n`;
  const found =
    findings.length === 0
      ? "nothing is wrong"
      : `${counted(findings.length, "finding")}, ${repaired} repaired, ${findings.length - repaired} left`;
  return `${aside}${looked}: ${found}\n`;
}

/** For other programs. */
export function jsonOf({ root, daemonPid, counts, setAside, findings }: CheckReport): string {
  const list = findings.map(({ finding: { about, where, what, means, repair }, outcome }) => ({
    about,
    where,
    what,
    means,
    repair: repair?.does ?? null,
    outcome: outcome ?? null,
  }));
  return `${JSON.stringify({ root, daemonPid: daemonPid ?? null, counts, setAside, findings: list }, undefined, 2)}\n`;
}

/** 0 when all is well or was repaired, 1 when something is left. */
export function exitCodeOf({ findings }: CheckReport): number {
  return findings.every(({ outcome }) => outcome?.is === "repaired") ? 0 : 1;
}

function lineOf({ about, where, what, means, repair }: Finding): string {
  return `${about} ${where}: ${what} (${means}); --repair ${repair?.does ?? "leaves it"}`;
}

function outcomeLine({ is, detail }: Outcome): string {
  return `${is}: ${detail}`;
}

function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}
