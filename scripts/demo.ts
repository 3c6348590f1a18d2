/**
 * `npm run demo`: a pod on keelsond from the first call to the last, with a kill -9 of the daemon in the middle. It all
 * happens in a sandbox (testkit's host-sandbox.ts) and a temporary directory; the image comes from a registry in this
 * process. Exits with 0 when every step did what it says and nothing is left; otherwise it prints the step, its error
 * and the tail of the daemon's log.
 */
import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { messageOf } from "@keelson/base/status.ts";
import { leftBehind, type Snapshot, takeSnapshot } from "@keelson/testkit/leaks.ts";
import { Stage } from "./demo/stage.ts";
import { bold, dim, red } from "./demo/steps.ts";
import { tellStory } from "./demo/story.ts";
import { keelsondLog, removePodNetwork, writePodNetwork } from "./keelsond.ts";
import { removePodCgroup } from "./pod-cgroup.ts";
import { removePods } from "./remove-pods.ts";
import { enterTemporarySandbox } from "./temporary-sandbox.ts";

/** What a reader may want to do next. */
const howToGoOn = `To try it yourself, as root (pods need a CNI list in /etc/cni/net.d):

  bin/keelsond                                      serves on unix:///run/keelson/keelson.sock
  bin/keelctl -r unix:///run/keelson/keelson.sock info
  kubelet --container-runtime-endpoint=unix:///run/keelson/keelson.sock …`;

if (process.getuid?.() !== 0) {
  console.error("the demo needs root, because pods need namespaces, mounts and cgroups");
  process.exit(1);
}
const dir = await enterTemporarySandbox("keelson-demo-");
const interrupt = new AbortController();
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => {
    // Whoever interrupts twice means it: the sandbox takes everything with it.
    if (interrupt.signal.aborted) process.exit(130);
    interrupt.abort(new Error(`interrupted by ${signal}`));
  });
}
process.exitCode = await demo();

async function demo(): Promise<number> {
  console.log(
    `\n${bold("Keelson demo")}: a pod on keelsond, in a sandbox with its own mounts, processes and network\n`,
  );
  const before = takeSnapshot();
  const network = writePodNetwork(join(dir, "cni"), "keelson0", "10.70.0");
  const stage = new Stage(dir, network, interrupt.signal);
  let isDone = false;
  try {
    await tellStory(stage);
    isDone = true;
  } catch (error) {
    const { aborted, reason } = interrupt.signal;
    console.log(`\n${red(`${stage.steps.failed ?? "demo"}: ${messageOf(aborted ? reason : error)}`)}`);
    if (!aborted) for (const line of stage.daemon?.logTail() ?? []) console.log(dim(`keelsond | ${line}`));
    console.log("");
    await takeDown(stage);
  }
  const isClean = await checkLeftBehind(stage, before);
  if (isDone && isClean) console.log(`\n${bold("All of it worked")}, in ${stage.steps.elapsed()}.\n\n${howToGoOn}\n`);
  if (interrupt.signal.aborted) return 130;
  return isDone && isClean ? 0 : 1;
}

/** After a failure: takes down whatever can still be taken down. */
async function takeDown(stage: Stage): Promise<void> {
  if (!existsSync(keelsondLog(dir))) return;
  try {
    await stage.step("clean up", async (say) => {
      // Between its death and its second start no keelsond is running, but a pod is.
      const { client } = stage.daemon ?? (await stage.startDaemon(AbortSignal.timeout(30_000)));
      const pods = await removePods(client, {});
      await stage.endDaemon("SIGTERM");
      say(`${pods} removed, keelsond ended`);
    });
  } catch (error) {
    console.log(red(messageOf(error)));
  }
}

async function checkLeftBehind(stage: Stage, before: Snapshot): Promise<boolean> {
  try {
    await stage.step("nothing is left", async (say) => {
      removePodNetwork(stage.network);
      removePodCgroup(stage.cgroup);
      rmSync(dir, { recursive: true, force: true });
      const left = leftBehind(before);
      if (existsSync(dir)) left.push(`${dir} is still there`);
      if (left.length > 0) throw new Error(left.join("\n  "));
      say("no process, mount, namespace, interface, cgroup, iptables rule or file");
    });
    return true;
  } catch (error) {
    console.log(`\n${red("left behind:")}\n  ${messageOf(error)}`);
    return false;
  }
}
