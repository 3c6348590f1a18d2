import type { StreamChoice } from "./remote-streams.ts";

/** What the client of a URL gets. */
export type StreamingRequest =
  | {
      readonly is: "exec";
      readonly containerId: string;
      readonly command: readonly string[];
      readonly choice: StreamChoice;
    }
  | { readonly is: "attach"; readonly containerId: string; readonly choice: StreamChoice }
  | { readonly is: "portforward"; readonly podId: string; readonly ports: readonly number[] };

export type RemoteCommand = Extract<StreamingRequest, { is: "exec" | "attach" }>;
export type PortForward = Extract<StreamingRequest, { is: "portforward" }>;
