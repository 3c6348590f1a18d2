import { version } from "@keelson/base/version.ts";
import type {
  RuntimeCondition,
  RuntimeHandler,
  RuntimeHandlerFeatures,
  StatusRequest,
  StatusResponse,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Handler } from "@keelson/runtimes/runtimes.ts";
import type { Deps } from "../deps.ts";
import { unreadableReason } from "../records/unreadable-message.ts";

/** CRI: Status. */
export async function status(d: Deps, req: StatusRequest): Promise<StatusResponse> {
  await d.runtimes.refreshFacts();
  return {
    status: { conditions: [runtimeReady(d), networkReady(d), recordsReadable(d)] },
    info: req.verbose ? verboseInfo(d) : {},
    runtimeHandlers: handlers(d),
    features: { supplementalGroupsPolicy: true, userNamespacesHostNetwork: d.host.idMapProblem === "" },
  };
}

function runtimeReady(d: Deps): RuntimeCondition {
  const problem = d.runtimes.problem();
  return {
    type: "RuntimeReady",
    status: problem === undefined,
    reason: problem === undefined ? "" : "NoRuntime",
    message: problem ?? "",
  };
}

function networkReady(d: Deps): RuntimeCondition {
  const { ready, reason, message } = d.network.status();
  return { type: "NetworkReady", status: ready, reason, message };
}

/** Not of the CRI: whoever watches a node sees that a person is needed. A kubelet goes by the two others alone. */
function recordsReadable(d: Deps): RuntimeCondition {
  const ids = [...d.pods.all(), ...d.containers.all()].flatMap(({ id, state }) =>
    state.is === "unreadable" ? id : [],
  );
  const count = ids.length + d.strayRows.pods + d.strayRows.containers;
  const message = `${count} ${count === 1 ? "record of a pod or container" : "records of pods and containers"} cannot be read, and what they stand for is left as it is: ${ids.slice(0, 10).join(", ")}; see docs/upgrading.md`;
  return {
    type: "KeelsonRecordsReadable",
    status: count === 0,
    reason: count === 0 ? "" : unreadableReason,
    message: count === 0 ? "" : message,
  };
}

/** Each handler by its name, and the default also by "", where a kubelet looks for pods without a RuntimeClass. */
function handlers(d: Deps): RuntimeHandler[] {
  const named = d.runtimes.all().map((handler) => ({ name: handler.name, features: featuresOf(handler) }));
  const [first] = named;
  return d.runtimes.defaultName === undefined || first === undefined ? named : [{ ...first, name: "" }, ...named];
}

function featuresOf({ facts }: Handler): RuntimeHandlerFeatures {
  return { recursiveReadOnlyMounts: facts.recursiveReadOnlyMounts, userNamespaces: facts.userNamespaces };
}

function verboseInfo(d: Deps): Record<string, string> {
  const config = {
    version,
    rootDir: d.paths.root,
    stateDir: d.paths.state,
    cgroupDriver: d.host.cgroupDriver,
    cgroupVersion: d.host.cgroupVersion,
    defaultRuntime: d.runtimes.defaultName ?? "",
  };
  return {
    config: JSON.stringify(config),
    host: JSON.stringify(d.host),
    knownHoles: JSON.stringify(knownHolesInfo(d)),
    runtimes: JSON.stringify(runtimesInfo(d)),
  };
}

/** By the program's path. */
function knownHolesInfo(d: Deps): object {
  return Object.fromEntries(
    d.holes
      .found()
      .map(({ path, program, version, holes }) => [
        path,
        { program, version, holes: holes.map(({ advisories, fixedIn, means }) => ({ advisories, fixedIn, means })) },
      ]),
  );
}

/** What `keelctl runtimes` shows, by handler name, including those that cannot be used and why. */
function runtimesInfo(d: Deps): object {
  const usable = d.runtimes.all().map((handler) => ({
    name: handler.name,
    type: handler.type,
    path: handler.path,
    version: handler.version,
    default: handler.name === d.runtimes.defaultName,
    sandbox: handler.facts.sandbox,
    features: featuresOf(handler),
    overhead: handler.settings.overhead,
    problem: handler.problem() ?? "",
  }));
  const missing = d.runtimes
    .missing()
    .map(({ name, type, path, problem }) => ({ name, type, path, version: "", default: false, problem }));
  return Object.fromEntries([...usable, ...missing].map((handler) => [handler.name, handler]));
}
