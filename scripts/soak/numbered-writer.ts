/** A script for `sh -c` that writes `line 1`, `line 2` and so on in bursts, for ever; at SIGTERM it writes `end N` and ends with 7. `first` runs before. */
export function numberedWriter(burst: number, everySeconds: number, first = ""): string {
  return [
    "i=0",
    `trap 'echo "end $i"; exit ${stoppedExitCode}' TERM`,
    first,
    // A shell hears of a signal at once only while it waits.
    `while :; do n=$((i+${burst})); while [ $i -lt $n ]; do i=$((i+1)); echo "line $i"; done; sleep ${everySeconds} & wait; done`,
  ].join("\n");
}

/** With this a `numberedWriter` ends when it is asked to. */
export const stoppedExitCode = 7;

/** A script that writes so many lines as fast as it can, and ends. */
export function numberedJob(lines: number, exitCode: number): string {
  return `i=0; while [ $i -lt ${lines} ]; do i=$((i+1)); echo "line $i"; done; echo "end $i"; exit ${exitCode}`;
}
