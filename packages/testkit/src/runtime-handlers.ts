import { runtimeBinary, withoutRuntime } from "./runtime-binary.ts";

/** A runtime handler of keelsond with which tests, soak and bench run pods. */
export interface RuntimeHandler {
  readonly name: string;
  /** How it runs a pod, for people. */
  readonly what: string;
  /** Its section in keelson.toml. */
  readonly section: string;
  /** Why this machine cannot run it; false if it can. */
  readonly missing: string | false;
}

/**
 * Every kind that keelsond can run on a test machine. The shims' sections contain paths, since setup may have put them
 * outside PATH.
 */
export function runtimeHandlers(): RuntimeHandler[] {
  const shim = runtimeBinary("containerd-shim-runc-v2");
  const shimSection = (name: string, runtime: string) =>
    `[runtimes.${name}]\ntype = "shim"\npath = ${JSON.stringify(shim ?? "io.containerd.runc.v2")}\noptions = { BinaryName = "${runtime}" }\n`;
  const lacks = (...programs: string[]) => programs.map(withoutRuntime).find((reason) => reason !== false) ?? false;
  return [
    { name: "crun", what: "conmon and crun for each container", section: "", missing: lacks("crun") },
    { name: "runc", what: "conmon and runc for each container", section: "", missing: lacks("runc") },
    {
      name: "runsc",
      what: "conmon for each container, gVisor's own kernel for each pod",
      section: "",
      missing: lacks("runsc"),
    },
    {
      name: "runc-shim",
      what: "containerd's shim for each pod, with runc",
      section: shimSection("runc-shim", "runc"),
      missing: lacks("containerd-shim-runc-v2", "runc"),
    },
    {
      name: "crun-shim",
      what: "containerd's shim for each pod, with crun",
      section: shimSection("crun-shim", "crun"),
      missing: lacks("containerd-shim-runc-v2", "crun"),
    },
  ];
}
