/** A script for `sh -c`: `first`, then `line 1`, `line 2`, … in bursts, and at SIGTERM `end N` and exit code 7. */
export function numberedWriter(burst: number, everySeconds: number, first = ""): string {
  return [
    "i=0",
    `trap 'echo "end $i"; exit ${stoppedExitCode}' TERM`,
    first,
    // A shell handles a signal at once only while it waits.
    `while :; do n=$((i+${burst})); while [ $i -lt $n ]; do i=$((i+1)); echo "line $i"; done; sleep ${everySeconds} & wait; done`,
  ].join("\n");
}

/** The exit code of a `numberedWriter` that was stopped. */
export const stoppedExitCode = 7;

/** A script that writes a number of lines as fast as it can, and ends. */
export function numberedJob(lines: number, exitCode: number): string {
  return `i=0; while [ $i -lt ${lines} ]; do i=$((i+1)); echo "line $i"; done; echo "end $i"; exit ${exitCode}`;
}
