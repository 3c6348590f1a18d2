import type { RequestOf, UnaryCallName } from "@keelson/cri/service.ts";

const defaultMs = 2_000;

/** Calls that change something get as much time as a kubelet gives them. */
const slowMs = 120_000;

const slowCalls: ReadonlySet<UnaryCallName> = new Set<UnaryCallName>([
  "runPodSandbox",
  "stopPodSandbox",
  "removePodSandbox",
  "createContainer",
  "startContainer",
  "stopContainer",
  "removeContainer",
  "updateContainerResources",
  "execSync",
]);

/**
 * How long to wait for a call, in ms; undefined: until the user gives up. Lists and statuses get 2 s. With --timeout
 * the arithmetic is crictl's: RunPodSandbox gets twice the time, StopContainer the grace period on top, ExecSync the
 * command's own timeout on top.
 *
 * @param timeoutMs the value of --timeout, if it was given
 */
export function callTimeoutMs<N extends UnaryCallName>(
  name: N,
  request: RequestOf<N>,
  timeoutMs: number | undefined,
): number | undefined {
  const base = timeoutMs ?? (slowCalls.has(name) ? slowMs : defaultMs);
  if (name === "pullImage" || name === "removeImage") return undefined;
  if (name === "runPodSandbox") return base * 2;
  if (name === "stopContainer") return base + graceMs(request as RequestOf<"stopContainer">);
  if (name !== "execSync") return base;
  const exec = request as RequestOf<"execSync">;
  return exec.timeout === 0n ? undefined : base + graceMs(exec);
}

function graceMs(request: { timeout: bigint }): number {
  return Math.max(0, Number(request.timeout) * 1000);
}
