import { orAborted } from "@keelson/base/or-aborted.ts";
import { Code, StatusError } from "@keelson/base/status.ts";
import type { ProcessIdentity } from "@keelson/linux/process-identity.ts";
import { processStartTicks, readCommandLine } from "@keelson/linux/procfs.ts";
import { run } from "@keelson/linux/run.ts";
import { deleteWithShim, type ShimProgram, startShim } from "@keelson/shim/commands.ts";
import { connectShim } from "@keelson/shim/connection.ts";
import type { Any } from "@keelson/shim/gen/google/protobuf/known.ts";
import type { TaskClient } from "@keelson/shim/task-client.ts";
import { type Bundle, readShim } from "./bundle-files.ts";
import { answerTimeoutMs, deleteTimeoutMs, listenPatienceMs, slowTimeoutMs } from "./deadlines.ts";
import { ShimProcess } from "./shim-process.ts";

/** Keeps the containers of this daemon's shims apart from containerd's. */
export const namespace = "keelson";

/** What shims have of our environment: Kata finds its configuration by the second one. */
const passedOn = ["PATH", "KATA_CONF_FILE"];

export interface ShimProcessesOptions {
  /** Absolute path of the shim's binary. */
  readonly file: string;
  /** The CRI's socket, from which shims derive the names of their own. */
  readonly address: string;
  /** The socket on which shims publish their events. */
  readonly eventsPath: string;
  /** What a shim is given at its start, and with each container. */
  readonly options: Any | undefined;
}

/** The shims of one handler. Each serves the containers of one pod. */
export class ShimProcesses {
  readonly #program: ShimProgram;
  readonly #options: Any | undefined;
  /** By address. */
  readonly #shims = new Map<string, ShimProcess>();
  /** By container. */
  readonly #removing = new Map<string, Promise<void>>();

  constructor({ file, address, eventsPath, options }: ShimProcessesOptions) {
    this.#program = {
      file,
      namespace,
      address,
      eventsPath,
      publishBinary: "/bin/true",
      env: Object.fromEntries(passedOn.map((name) => [name, process.env[name]])),
    };
    this.#options = options;
  }

  /** Starts the pod's shim, or finds the one that already runs. */
  async start({ id, bundleDir }: Bundle, signal: AbortSignal): Promise<ShimProcess> {
    const bundle = { id, dir: bundleDir };
    const limits = { timeoutMs: slowTimeoutMs, signal };
    const bootstrap = await startShim({ run, program: this.#program, bundle }, this.#options, limits);
    const running = this.#shims.get(bootstrap.address);
    if (running !== undefined && running.lost === undefined) return running;
    const connection = await connectShim(bootstrap, { namespace, patienceMs: listenPatienceMs }, signal);
    try {
      const { shimPid } = await connection.task.call("Connect", { id }, { timeoutMs: answerTimeoutMs, signal });
      return this.#add(new ShimProcess({ bootstrap, identity: identify(shimPid), namespace, connection }));
    } catch (error) {
      connection[Symbol.dispose]();
      throw error;
    }
  }

  /**
   * A container's shim, also one that an earlier daemon started; undefined when none is recorded.
   *
   * @param monitor the shim's process according to the container's record, which wins over the bundle's.
   */
  of({ bundleDir }: Pick<Bundle, "bundleDir">, monitor?: ProcessIdentity): ShimProcess | undefined {
    const recorded = readShim(bundleDir);
    if (recorded === undefined) return undefined;
    const known = this.#shims.get(recorded.bootstrap.address);
    const identity = monitor ?? recorded.identity;
    if (known?.identity.pid === identity.pid && known.identity.startTicks === identity.startTicks) return known;
    const shim = new ShimProcess({ ...recorded, namespace });
    // The address may belong to another shim of the pod by now.
    return known === undefined || known.lost !== undefined ? this.#add(shim) : shim;
  }

  /**
   * The Task service of a container's shim. Throws FailedPrecondition without a shim, Unavailable when it is gone or
   * hangs.
   */
  async task(bundle: Bundle, signal: AbortSignal): Promise<TaskClient> {
    const shim = this.of(bundle);
    if (shim === undefined) throw new StatusError(Code.FailedPrecondition, `container ${bundle.id} has no shim`);
    return await shim.task(signal);
  }

  /**
   * Has the shim's binary remove what a container whose shim is gone has left behind. It has a time of its own: whoever
   * gives up waiting finds it under way when they try again.
   */
  async removeLeftovers({ id, bundleDir }: Bundle, signal: AbortSignal): Promise<void> {
    let removing = this.#removing.get(id);
    if (removing === undefined) {
      const bundle = { id, dir: bundleDir };
      const limits = { timeoutMs: deleteTimeoutMs, signal: new AbortController().signal };
      removing = deleteWithShim({ run, program: this.#program, bundle }, limits)
        .then(() => {})
        .finally(() => this.#removing.delete(id));
      removing.catch(() => {});
      this.#removing.set(id, removing);
    }
    await orAborted(removing, signal);
  }

  /** For a shim that has ended. */
  forget(shim: ShimProcess): void {
    shim[Symbol.dispose]();
    if (this.#shims.get(shim.bootstrap.address) === shim) this.#shims.delete(shim.bootstrap.address);
  }

  #add(shim: ShimProcess): ShimProcess {
    const { address } = shim.bootstrap;
    this.#shims.get(address)?.[Symbol.dispose]();
    this.#shims.set(address, shim);
    return shim;
  }
}

/** A shim that names another process would have us kill that one. Every shim has the namespace in its command line. */
function identify(pid: number): ProcessIdentity {
  const startTicks = pid > 1 && pid !== process.pid ? processStartTicks(pid) : null;
  if (startTicks === null || !readCommandLine(pid).includes(namespace)) {
    throw new StatusError(
      Code.FailedPrecondition,
      `the shim says that it is process ${pid}, but no such process was started with -namespace ${namespace}`,
    );
  }
  return { pid, startTicks };
}
