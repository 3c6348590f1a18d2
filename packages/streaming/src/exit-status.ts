/** How a command or an attachment ended, for the client. */
export type Outcome =
  | { readonly is: "exited"; readonly exitCode: number }
  /** The command could not be run: as in shells, 127 when it was not found, 126 when it is not a program. */
  | { readonly is: "not run"; readonly exitCode: 126 | 127; readonly message: string }
  | { readonly is: "failed"; readonly message: string };

/** How an outcome is written to the error stream: as JSON since v4, before that as text. */
export type StatusFormat = "json" | "text";

/**
 * The text for the error stream: a `Status` of the Kubernetes API (meta/v1) with the exit code among its causes, as
 * client-go reads it, or plain text for protocols before v4; "" when there is nothing to report.
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
