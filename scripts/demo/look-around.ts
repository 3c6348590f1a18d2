import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { ExecSyncRequest, PodSandboxStatusRequest } from "@keelson/cri/gen/runtime/v1/api.ts";
import { waitFor } from "@keelson/testkit/wait.ts";
import { findProcesses, pssKiB, rssKiB } from "../process-memory.ts";
import { type Cast, httpPort } from "./cast.ts";
import type { Stage } from "./stage.ts";
import { dim } from "./steps.ts";
import { readTicks } from "./ticks.ts";

const keelctl = join(import.meta.dirname, "../../bin/keelctl");

/** Shows the running container from all sides: its network, log, processes and numbers. */
export async function lookAround(stage: Stage, cast: Cast): Promise<void> {
  await fetchPage(stage, cast);
  await readLog(stage);
  await runCommand(stage, cast);
  await listContainers(stage);
  await measure(stage, cast);
}

function fetchPage(stage: Stage, { podId }: Cast): Promise<void> {
  return stage.step("its network", async (say) => {
    const request = PodSandboxStatusRequest.fromPartial({ podSandboxId: podId });
    const { status } = await stage.call("podSandboxStatus", request);
    const url = `http://${status?.network?.ip}:${httpPort}/`;
    // The shell needs a moment to start the web server.
    const page = await waitFor(() => fetchText(url), { message: `${url} does not answer` });
    say(`GET ${url} says: ${page.trim()}`);
  });
}

function readLog(stage: Stage): Promise<void> {
  return stage.step("its log", async (say) => {
    const { logFile } = stage;
    await waitFor(() => readTicks(logFile).length >= 3, { message: `${logFile} has fewer than three lines` });
    say(logFile, ...readFileSync(logFile, "utf8").split("\n").slice(0, 3).map(dim));
  });
}

function runCommand(stage: Stage, { containerId }: Cast): Promise<void> {
  return stage.step("ExecSync", async (say) => {
    const script = "id -un; hostname; ps -o pid,user,comm";
    const request = ExecSyncRequest.fromPartial({ containerId, cmd: ["sh", "-c", script], timeout: 10n });
    const { exitCode, stdout, stderr } = await stage.call("execSync", request);
    if (exitCode !== 0) throw new Error(`sh ended with ${exitCode}: ${Buffer.from(stderr).toString()}`);
    say(script, ...linesOf(Buffer.from(stdout).toString()));
  });
}

function listContainers(stage: Stage): Promise<void> {
  return stage.step("keelctl ps", async (say) => {
    const args = ["-r", stage.daemon!.endpoint, "ps"];
    const { stdout } = await promisify(execFile)(keelctl, args, { signal: stage.signal });
    say("the same through the command line", ...linesOf(stdout));
  });
}

function measure(stage: Stage, { podId, containerId }: Cast): Promise<void> {
  return stage.step("its numbers", async (say) => {
    const { stats } = await stage.call("podSandboxStats", { podSandboxId: podId });
    const { containers, network } = stats!.linux!;
    const { memory, cpu } = containers[0]!;
    const { name, rxBytes, txBytes } = network!.defaultInterface!;
    const cpuMs = Number(cpu!.usageCoreNanoSeconds!.value) / 1e6;
    const supervisorKiB = supervisors(containerId).reduce((sum, pid) => sum + pssKiB(pid), 0);
    say(
      "PodSandboxStats, and what the kernel says of the rest",
      `container    ${mb(Number(memory!.usageBytes!.value))} memory, ${cpuMs.toFixed(0)} ms CPU`,
      `network      ${name}: ${rxBytes!.value} bytes received, ${txBytes!.value} sent`,
      `supervisor   ${mb(supervisorKiB * 1024)} (PSS of conmon)`,
      `pod          no process: its namespaces are pinned by mounts`,
      `keelsond     ${mb(rssKiB(stage.daemon!.pid) * 1024)} (RSS)`,
    );
  });
}

function linesOf(output: string): string[] {
  return output.trimEnd().split("\n").map(dim);
}

async function fetchText(url: string): Promise<string | undefined> {
  try {
    return await (await fetch(url, { signal: AbortSignal.timeout(2000) })).text();
  } catch {
    return undefined; // nobody listens yet
  }
}

function supervisors(containerId: string): number[] {
  return findProcesses(
    (command, args) => args[0]?.endsWith("conmon") === true && command.includes(`--cid ${containerId}`),
  );
}

function mb(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`.padStart(8);
}
