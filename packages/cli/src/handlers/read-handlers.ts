import type { StatusResponse } from "@keelson/cri/gen/runtime/v1/api.ts";

/** What a runtime reports of a handler; "" and undefined stand for what it does not report. */
export interface HandlerView {
  readonly name: string;
  /** Whether it runs the pods that name none. */
  readonly isDefault: boolean;
  /** `oci`, `shim`, or another runtime's name for the type. */
  readonly type: string;
  readonly path: string;
  readonly version: string;
  readonly sandbox: string;
  readonly features: { readonly recursiveReadOnlyMounts: boolean; readonly userNamespaces: boolean } | undefined;
  readonly overhead: { readonly cpu?: string; readonly memory?: string } | undefined;
  readonly problem: string;
}

/**
 * The handlers in a verbose answer to Status: those of runtime_handlers, with the details in keelsond's
 * info["runtimes"] or containerd's info["config"]. containerd before 2.0 has them only there. The default comes first,
 * the others by name; "" is a default whose name is not known.
 */
export function readHandlers({ runtimeHandlers, info }: StatusResponse): HandlerView[] {
  const own = objectIn(parsed(info["runtimes"]));
  const containerd = objectIn(objectIn(parsed(info["config"]))["containerd"]);
  const others = objectIn(containerd["runtimes"]);
  const told = new Map(runtimeHandlers.map((handler) => [handler.name, handler.features]));
  const defaultName =
    Object.keys(own).find((name) => objectIn(own[name])["default"] === true) ??
    textOf(containerd["defaultRuntimeName"]);
  const names = new Set(
    [...told.keys(), ...Object.keys(own), ...Object.keys(others)].filter((name) => name !== "" || defaultName === ""),
  );
  const views = [...names].map((name): HandlerView => {
    const detail = objectIn(own[name]);
    const configured = objectIn(others[name]);
    return {
      name,
      isDefault: name === defaultName,
      type: textOf(detail["type"]) || textOf(configured["runtimeType"]),
      path:
        textOf(detail["path"]) ||
        textOf(objectIn(configured["options"])["BinaryName"]) ||
        textOf(configured["runtimePath"]),
      version: textOf(detail["version"]),
      sandbox: textOf(detail["sandbox"]),
      features: told.get(name),
      overhead: overheadIn(detail["overhead"]),
      problem: textOf(detail["problem"]),
    };
  });
  return views.sort((a, b) => Number(b.isDefault) - Number(a.isDefault) || (a.name < b.name ? -1 : 1));
}

function overheadIn(value: unknown): HandlerView["overhead"] {
  const { cpu, memory } = objectIn(value);
  if (cpu === undefined && memory === undefined) return undefined;
  return {
    ...(cpu === undefined ? {} : { cpu: textOf(cpu) }),
    ...(memory === undefined ? {} : { memory: textOf(memory) }),
  };
}

function parsed(text: string | undefined): unknown {
  try {
    return JSON.parse(text ?? "{}");
  } catch {
    return undefined;
  }
}

function objectIn(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {};
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}
