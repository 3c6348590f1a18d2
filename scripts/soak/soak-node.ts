import { execFileSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { ListContainersRequest, ListImagesRequest, RemoveImageRequest } from "@keelson/cri/gen/runtime/v1/api.ts";
import { leftBehind, type Snapshot, takeSnapshot } from "@keelson/testkit/leaks.ts";
import { runtimeHandlers } from "@keelson/testkit/runtime-handlers.ts";
import type { DaemonProcess } from "../daemon-process.ts";
import { type PodNetwork, removePodNetwork, startKeelsond } from "../keelsond.ts";
import { removePodCgroup } from "../pod-cgroup.ts";
import { removePods } from "../remove-pods.ts";
import { writeSoakNetwork } from "./network.ts";

/** The parent of the cgroups of all pods. */
export const podCgroup = "keelson-soak";

/** How long calls that lost their client may take to end. */
const settleMs = 15_000;

/** The running daemon, as a client sees it. */
export interface Life {
  /** Counted from 1. */
  readonly number: number;
  readonly daemon: DaemonProcess;
  readonly startedAtMs: number;
}

/** One keelsond after the other on the same directories. */
export class SoakNode implements AsyncDisposable {
  readonly dir: string;
  /** Times from the start of the process to the first answer, of all starts except the first, in ms. */
  readonly restartsMs: number[] = [];
  readonly #before: Snapshot;
  readonly #network: PodNetwork;
  readonly #sections: string;
  #lives = 0;
  #life: Promise<Life>;
  #now: Life | undefined;

  private constructor(dir: string, sections: string) {
    this.dir = dir;
    this.#sections = sections;
    this.#before = takeSnapshot();
    this.#network = writeSoakNetwork(dir);
    this.#life = this.#start();
  }

  /** Throws when a requested handler is not available on this machine. */
  static async start(dir: string, handlers: readonly string[]): Promise<SoakNode> {
    const wanted = runtimeHandlers().filter(({ name }) => handlers.includes(name));
    for (const { name, missing } of wanted) if (missing !== false) throw new Error(`--handlers ${name}: ${missing}`);
    const node = new SoakNode(dir, wanted.map(({ section }) => section).join(""));
    await node.#life;
    return node;
  }

  /** The serving daemon; waits while one is starting. */
  life(): Promise<Life> {
    return this.#life;
  }

  /** The serving daemon; undefined between a kill and the next start. */
  get lifeNow(): Life | undefined {
    return this.#now;
  }

  /** Ends the daemon and starts the next one. Returns how long that took until it served. */
  async restart(signal: "SIGTERM" | "SIGKILL"): Promise<number> {
    const { daemon } = await this.#life;
    // Set at once, so that whatever fails from now on counts as cut off.
    this.#now = undefined;
    const { promise, resolve, reject } = Promise.withResolvers<Life>();
    this.#life = promise;
    promise.catch(() => {}); // whoever waits for it gets the error too
    try {
      await daemon.end(signal);
      const startedAtMs = performance.now();
      resolve(await this.#start());
      const ms = performance.now() - startedAtMs;
      this.restartsMs.push(ms);
      return ms;
    } catch (error) {
      reject(error);
      throw error;
    }
  }

  /**
   * Removes all pods and images, ends the daemon, and takes down the network and the cgroup that this class has set up.
   * Returns a sentence for each thing that is left, before or after one more start of the daemon: the first daemon must
   * leave nothing for recovery to find, and recovery must leave nothing at all.
   */
  async takeDown(): Promise<string[]> {
    const before = await this.#removeAll();
    await this.restart("SIGTERM");
    const after = await this.#removeAll();
    await (await this.#life).daemon.end("SIGTERM");
    this.#now = undefined;
    return [
      ...before.map((sentence) => `${sentence}, although the daemon should have removed it`),
      ...after,
      ...this.#leaked(),
    ];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#now?.daemon[Symbol.asyncDispose]();
  }

  async #start(): Promise<Life> {
    const daemon = await startKeelsond(this.dir, this.#network, AbortSignal.timeout(60_000), {
      sections: this.#sections,
    });
    const life = { number: (this.#lives += 1), daemon, startedAtMs: performance.now() };
    this.#now = life;
    return life;
  }

  /** Removes pods until no more appear: calls that lost their client may still be in progress. */
  async #removeAll(): Promise<string[]> {
    const { client } = (await this.#life).daemon;
    const deadline = () => AbortSignal.timeout(30_000);
    for (const endMs = performance.now() + settleMs; ; await sleep(500)) {
      await removePods(client, {});
      const { images } = await client.call("listImages", ListImagesRequest.fromPartial({}), deadline());
      for (const { id } of images)
        await client.call("removeImage", RemoveImageRequest.fromPartial({ image: { image: id } }), deadline());
      const { containers } = await client.call("listContainers", ListContainersRequest.fromPartial({}), deadline());
      const left = [
        ...containers.map(({ id }) => `container ${id} is still listed, without a pod`),
        ...this.#remains(),
      ];
      if (left.length === 0 || performance.now() >= endMs) return left;
    }
  }

  /** Files and directories that should have been removed with the last pod and image. */
  #remains(): string[] {
    const withIds = ["root/containers", "root/cni", "state", "ipam"].flatMap((name) => {
      const dir = join(this.dir, name);
      const paths = existsSync(dir) ? readdirSync(dir, { recursive: true, encoding: "utf8" }) : [];
      return paths
        .filter((path) => /[0-9a-f]{64}|\d+\.\d+\.\d+\.\d+$/.test(path) && !path.includes("last_reserved_ip"))
        .map((path) => join(dir, path));
    });
    // `empty` is the lower directory of images without layers.
    const layers = readdirSync(join(this.dir, "root/layers"))
      .filter((name) => name !== "empty")
      .map((name) => join(this.dir, "root/layers", name));
    return [...withIds, ...layers].map((path) => `${path} is still there`);
  }

  #leaked(): string[] {
    removePodNetwork(this.#network);
    removePodCgroup(podCgroup);
    // portmap keeps its entry chains, which have only marks; in the sandbox they can only be ours.
    const chains = execFileSync("iptables-save", ["-t", "nat"], { encoding: "utf8" })
      .split("\n")
      .filter((line) => line.startsWith("-A CNI-HOSTPORT-DNAT"));
    const left = leftBehind(this.#before, { settleMs: 5000 }).filter((sentence) => !staysOnPurpose(sentence));
    return [...left, ...chains.map((rule) => `iptables rule ${rule} is still there`)];
  }
}

function staysOnPurpose(sentence: string): boolean {
  return /^ip6?tables .* (the chain CNI-HOSTPORT-(DNAT|MASQ|SETMARK)|the rule -A (PREROUTING|OUTPUT|POSTROUTING) .*-j CNI-HOSTPORT-\w+|the rule -A CNI-HOSTPORT-(MASQ|SETMARK) .*)$/.test(
    sentence,
  );
}
