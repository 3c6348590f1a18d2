import type { TtrpcClient } from "@keelson/ttrpc/client.ts";
import * as task from "./gen/containerd/task/v2/task.ts";
import { type MessageType, type Method, ServiceClient } from "./service-client.ts";

/** google.protobuf.Empty. */
const nothing = { encode: () => ({ finish: () => Buffer.alloc(0) }), decode: () => undefined };

const smallAnswerBytes = 64 * 1024;
/** For lists of processes, and metrics. */
const largeAnswerBytes = 1024 * 1024;

function method<Request, Response>(
  request: MessageType<Request>,
  response: Method<Request, Response>["response"],
  maxAnswerBytes = smallAnswerBytes,
): Method<Request, Response> {
  return { request, response, maxAnswerBytes };
}

const methods = {
  State: method(task.StateRequest, task.StateResponse),
  Create: method(task.CreateTaskRequest, task.CreateTaskResponse),
  Start: method(task.StartRequest, task.StartResponse),
  Delete: method(task.DeleteRequest, task.DeleteResponse),
  Pids: method(task.PidsRequest, task.PidsResponse, largeAnswerBytes),
  Pause: method(task.PauseRequest, nothing),
  Resume: method(task.ResumeRequest, nothing),
  Kill: method(task.KillRequest, nothing),
  Exec: method(task.ExecProcessRequest, nothing),
  ResizePty: method(task.ResizePtyRequest, nothing),
  CloseIO: method(task.CloseIORequest, nothing),
  Update: method(task.UpdateTaskRequest, nothing),
  Wait: method(task.WaitRequest, task.WaitResponse),
  Stats: method(task.StatsRequest, task.StatsResponse, largeAnswerBytes),
  Connect: method(task.ConnectRequest, task.ConnectResponse),
  Shutdown: method(task.ShutdownRequest, nothing),
};

export type TaskClient = Pick<ServiceClient<typeof methods>, "call">;

/** The version is a part of the service's name; the messages are the same. */
export function createTaskClient(client: TtrpcClient, version: 2 | 3, namespace: string): TaskClient {
  return new ServiceClient(client, `containerd.task.v${version}.Task`, methods, namespace);
}
