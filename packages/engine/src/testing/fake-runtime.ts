import { basename, dirname } from "node:path";
import type { Spec } from "@keelson/oci/runtime-spec/spec.ts";
import type { Runtime } from "@keelson/runtimes/runtime.ts";
import { InjectedFault } from "./fake-machine.ts";
import type { FakeNode } from "./fake-node.ts";

/** The runtime of a handler on a machine in memory. */
export function fakeRuntime(node: FakeNode, handler: string): Runtime {
  return {
    create: (container, spec, signal) =>
      node.effect(
        "runtime create",
        () => {
          if (node.runtimeStates.has(container.id)) throw new Error(`container ${container.id} exists already`);
          checkNetwork(node, spec);
          const cgroup = cgroupOf(node, spec);
          const main = node.start("main", container.id, cgroup);
          const monitor = node.start("monitor", container.id, "");
          node.runtimeStates.set(container.id, { handler, main: main.pid, monitor: monitor.pid });
          return { main, monitor };
        },
        signal,
      ),
    start: ({ id }, _processes, signal) =>
      node.effect(
        "runtime start",
        () => {
          const main = node.processes.get(node.runtimeStates.get(id)?.main ?? 0);
          if (main === undefined || main.isStarted) throw new Error(`cannot start container ${id}: it is not created`);
          main.isStarted = true;
          if (node.exitsAtOnce !== undefined) node.end(main, node.exitsAtOnce);
        },
        signal,
      ),
    signal: (_container, { main }, number, signal) =>
      node.effect("runtime signal", () => void (main !== undefined && node.signal(main.pid, number)), signal),
    update: ({ id }, resources, signal) =>
      node.effect("runtime update", () => void node.limits.set(id, structuredClone(resources)), signal),
    exec: (_container, process, output, signal) =>
      node.effect(
        "runtime exec",
        () => {
          output.stdout.add(Buffer.from(process.args!.join(" ")));
          return 0;
        },
        signal,
      ),
    // Nobody opens the URLs of a machine in memory.
    execStreams: () => Promise.reject(new Error("there are no streams")),
    attach: () => Promise.reject(new Error("there are no streams")),
    resizeTerminal: () => Promise.resolve(),
    findProcesses: ({ id }) => {
      const state = node.runtimeStates.get(id);
      const [main, monitor] = [state?.main, state?.monitor].map((pid) => node.processes.get(pid ?? 0));
      const identity = ({ pid }: { pid: number }) => ({ pid, startTicks: pid });
      if (state?.handler !== handler || monitor === undefined) return undefined;
      return { ...(main === undefined ? {} : { main: identity(main) }), monitor: identity(monitor) };
    },
    endExecs: () => node.now("runtime end-execs", () => {}),
    reopenLog: (_container, _monitor, signal) => node.effect("runtime reopen-log", () => {}, signal),
    delete: ({ id }, signal) =>
      node.effect(
        "runtime delete",
        () => {
          const state = node.runtimeStates.get(id);
          const main = node.processes.get(state?.main ?? 0);
          if (main !== undefined) node.end(main, 137);
          node.runtimeStates.delete(id);
          node.exitReports.delete(id);
        },
        signal,
      ),
    watch: (_container, { monitor }, onEnd) => node.now("runtime watch", () => node.watch(monitor.pid, onEnd)),
    hasEnded: (_container, { monitor }) => Promise.resolve(!node.processes.has(monitor.pid)),
    exitOf: ({ id }) => Promise.resolve(node.exitReports.get(id)),
    view: ({ id }, signal) =>
      node.effect(
        "runtime view",
        () => {
          const state = node.runtimeStates.get(id);
          if (state === undefined) return undefined;
          const main = node.processes.get(state.main);
          return main === undefined ? "stopped" : main.isStarted ? "running" : "created";
        },
        signal,
      ),
  };
}

/** A runtime fails if a namespace that it must join is missing. A missing network is the daemon's mistake. */
function checkNetwork(node: FakeNode, spec: Spec): void {
  const netns = spec.linux?.namespaces?.find((n) => n.type === "network")?.path;
  if (netns === undefined) return;
  const podId = basename(dirname(netns));
  if (!node.things.has(`netns ${podId}`)) throw new InjectedFault(`pod ${podId}: its network namespace is gone`);
  if (!node.attachments.has(podId))
    node.violations.push(`a container was created in pod ${podId}, which has no network`);
}

function cgroupOf(node: FakeNode, spec: Spec): string {
  const path = spec.linux?.cgroupsPath ?? "";
  node.cgroups.add(path);
  const own = /^\/keelson-[^/]+/.exec(path)?.[0];
  if (own !== undefined) node.cgroups.add(own);
  return path;
}
