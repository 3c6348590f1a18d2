import { Code, StatusError } from "@keelson/base/status.ts";

/** The id of a request. Throws InvalidArgument for an empty one, which is most likely a mistake. */
export function requestId(field: "pod_sandbox_id" | "container_id", id: string): string {
  if (id === "") throw new StatusError(Code.InvalidArgument, `${field} is missing`);
  return id;
}
