import type { TtrpcClient } from "@keelson/ttrpc/client.ts";
import * as sandbox from "./gen/containerd/runtime/sandbox/v1/sandbox.ts";
import { type MessageType, type Method, ServiceClient } from "./service-client.ts";

const maxAnswerBytes = 1024 * 1024;

function method<Request, Response>(
  request: MessageType<Request>,
  response: Method<Request, Response>["response"],
): Method<Request, Response> {
  return { request, response, maxAnswerBytes };
}

const methods = {
  CreateSandbox: method(sandbox.CreateSandboxRequest, sandbox.CreateSandboxResponse),
  StartSandbox: method(sandbox.StartSandboxRequest, sandbox.StartSandboxResponse),
  Platform: method(sandbox.PlatformRequest, sandbox.PlatformResponse),
  StopSandbox: method(sandbox.StopSandboxRequest, sandbox.StopSandboxResponse),
  WaitSandbox: method(sandbox.WaitSandboxRequest, sandbox.WaitSandboxResponse),
  SandboxStatus: method(sandbox.SandboxStatusRequest, sandbox.SandboxStatusResponse),
  PingSandbox: method(sandbox.PingRequest, sandbox.PingResponse),
  ShutdownSandbox: method(sandbox.ShutdownSandboxRequest, sandbox.ShutdownSandboxResponse),
  SandboxMetrics: method(sandbox.SandboxMetricsRequest, sandbox.SandboxMetricsResponse),
};

export type SandboxClient = ServiceClient<typeof methods>;

/** When the shim has no such service, every call throws Unimplemented. */
export function createSandboxClient(client: TtrpcClient, namespace: string): SandboxClient {
  return new ServiceClient(client, "containerd.runtime.sandbox.v1.Sandbox", methods, namespace);
}
