/** How a command or an attachment ended, for the client. */
export type Outcome =
  | { readonly is: "exited"; readonly exitCode: number }
  /** The command could not be run: as shells have it, 127 for what is not found, 126 for what is no program. */
  | { readonly is: "not run"; readonly exitCode: 126 | 127; readonly message: string }
  | { readonly is: "failed"; readonly message: string };

/** How an outcome is told on the error stream: as JSON from v4 on, before as text. */
export type StatusFormat = "json" | "text";

/**
 * What is written to the error stream: a `Status` of the Kubernetes API (meta/v1) with the exit code among its causes,
 * as client-go reads it, or the plain text that protocols before v4 have; "" when there is nothing to say.
 */
export function statusText(outcome: Outcome, format: StatusFormat): string {
  if (format === "text") return outcome.is === "exited" && outcome.exitCode === 0 ? "" : messageOf(outcome);
  if (outcome.is === "failed")
    return JSON.stringify({
      metadata: {},
      status: "Failure",
      message: `Internal error occurred: ${outcome.message}`,
      reason: "InternalError",
      code: 500,
    });
  if (outcome.exitCode === 0) return JSON.stringify({ metadata: {}, status: "Success" });
  const causes = [{ reason: "ExitCode", message: String(outcome.exitCode) }];
  return JSON.stringify({
    metadata: {},
    status: "Failure",
    message: messageOf(outcome),
    reason: "NonZeroExitCode",
    details: { causes },
  });
}

function messageOf(outcome: Outcome): string {
  if (outcome.is === "failed") return outcome.message;
  if (outcome.is === "not run") return `command terminated with exit code ${outcome.exitCode}: ${outcome.message}`;
  return `command terminated with exit code ${outcome.exitCode}`;
}
