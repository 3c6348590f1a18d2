import { Code, StatusError, wrapError } from "@keelson/base/status.ts";
import {
  LinuxContainerResources,
  UpdateContainerResourcesRequest,
  WindowsContainerResources,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Command } from "commander";
import type { App } from "../app.ts";
import { addExamples, listOption } from "../flags.ts";
import { safeText } from "../output/safe-text.ts";

interface UpdateFlags {
  cpuPeriod?: string;
  cpuQuota?: string;
  cpuShare?: string;
  cpuCount?: string;
  cpuMaximum?: string;
  memory?: string;
  memorySwap?: string;
  cpusetCpus?: string;
  cpusetMems?: string;
  oomScoreAdj?: string;
  hugepages?: string[];
  unified?: string[];
}

/** `update`: changes the resource limits of containers. crictl has no flags for swap, huge pages and cgroup files. */
export function addUpdate(program: Command, app: App): void {
  const command = program
    .command("update")
    .description(
      "change the limits of created or running containers and print each id; what is not named stays as it is",
    )
    .argument("<containers...>", "ids or id prefixes")
    .option("--cpu-period <us>", "length of a scheduling period, in microseconds")
    .option("--cpu-quota <us>", "CPU time in each period, in microseconds; -1 for no limit")
    .option("--cpu-share <shares>", "weight relative to other containers; 1024 is a whole CPU")
    .option("--memory <bytes>", "memory limit, such as 512Mi")
    .option("--memory-swap <bytes>", "limit of memory and swap together, such as 1Gi; -1 for no limit")
    .option("--cpuset-cpus <list>", "CPUs to run on, such as 0-3,7")
    .option("--cpuset-mems <list>", "NUMA nodes to take memory from")
    .option(
      "--oom-score-adj <score>",
      "which container is killed first when memory runs out, from -1000 (last) to 1000",
    )
    .addOption(listOption("--hugepages <size=bytes>", "limit of huge pages of a size, such as 2MB=64Mi (repeatable)"))
    .addOption(listOption("--unified <file=value>", "a file of cgroup v2, such as memory.high=1073741824 (repeatable)"))
    .option("--cpu-count <count>", "CPUs (Windows)")
    .option("--cpu-maximum <share>", "part of the CPUs, times 10000 (Windows)")
    .action((ids: string[], flags: UpdateFlags) =>
      app.run(async (session) => {
        const request = { linux: linuxOf(flags), ...windowsOf(flags) };
        for (const id of ids) {
          try {
            await session.runtime.call(
              "updateContainerResources",
              UpdateContainerResourcesRequest.fromPartial({ containerId: id, ...request }),
            );
          } catch (error) {
            throw wrapError(`update container ${id}`, error);
          }
          await session.io.stdout.write(`${safeText(id)}\n`);
        }
      }),
    );
  addExamples(command, [
    ["keelctl update --memory 512Mi --cpu-quota 50000 $ID", "512 MiB, and half a CPU"],
    ["keelctl update --cpuset-cpus 0-3 $(keelctl ps -q)", "pin all running containers"],
  ]);
}

function linuxOf(flags: UpdateFlags): LinuxContainerResources {
  return LinuxContainerResources.fromPartial({
    cpuPeriod: integer(flags.cpuPeriod, "--cpu-period"),
    cpuQuota: integer(flags.cpuQuota, "--cpu-quota"),
    cpuShares: integer(flags.cpuShare, "--cpu-share"),
    memoryLimitInBytes: bytes(flags.memory, "--memory"),
    memorySwapLimitInBytes: bytes(flags.memorySwap, "--memory-swap"),
    cpusetCpus: flags.cpusetCpus ?? "",
    cpusetMems: flags.cpusetMems ?? "",
    oomScoreAdj: integer(flags.oomScoreAdj, "--oom-score-adj"),
    hugepageLimits: pairs(flags.hugepages, "--hugepages").map(([pageSize, limit]) => ({
      pageSize,
      limit: bytes(limit, "--hugepages"),
    })),
    unified: Object.fromEntries(pairs(flags.unified, "--unified")),
  });
}

function windowsOf({ cpuCount, cpuMaximum }: UpdateFlags): { windows?: WindowsContainerResources } {
  if (cpuCount === undefined && cpuMaximum === undefined) return {};
  return {
    windows: WindowsContainerResources.fromPartial({
      cpuCount: integer(cpuCount, "--cpu-count"),
      cpuMaximum: integer(cpuMaximum, "--cpu-maximum"),
    }),
  };
}

function integer(text: string | undefined, flag: string): bigint {
  if (text === undefined) return 0n;
  if (!/^-?\d{1,18}$/.test(text))
    throw new StatusError(Code.InvalidArgument, `${flag} ${text}: must be a whole number`);
  return BigInt(text);
}

/** As Kubernetes writes quantities: 512Mi is 512 * 2^20, 512M is 512 * 10^6. */
function bytes(text: string | undefined, flag: string): bigint {
  if (text === undefined) return 0n;
  const [, digits, unit = "", binary] = /^(-1|\d{1,18})([kKMGTP])?(i)?$/.exec(text) ?? [];
  if (digits === undefined || (binary !== undefined && unit === ""))
    throw new StatusError(
      Code.InvalidArgument,
      `${flag} ${text}: must be a number of bytes such as 1048576, 512Mi or 2G`,
    );
  const exponent = ["", "K", "M", "G", "T", "P"].indexOf(unit.toUpperCase());
  return BigInt(digits) * (binary === undefined ? 1000n : 1024n) ** BigInt(exponent);
}

function pairs(texts: readonly string[] | undefined, flag: string): [string, string][] {
  return (texts ?? []).map((text) => {
    const at = text.indexOf("=");
    if (at < 1) throw new StatusError(Code.InvalidArgument, `${flag} ${text}: must be name=value`);
    return [text.slice(0, at), text.slice(at + 1)];
  });
}
