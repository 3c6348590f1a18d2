import { Code, StatusError } from "@keelson/base/status.ts";
import type { AuthConfig, PullImageRequest, PullImageResponse } from "@keelson/cri/gen/runtime/v1/api.ts";
import { traceContextOf } from "@keelson/cri/trace-context.ts";
import type { Credentials } from "@keelson/oci/distribution/authorizer.ts";
import type { Deps } from "../deps.ts";
import { traced } from "./in-stages.ts";

/** How much of the requested name an operation keeps; valid references are no longer (distribution spec). */
const maxNameLength = 512;

/** CRI: PullImage. `image_ref` is Image.id. */
export async function pullImage(d: Deps, req: PullImageRequest, signal: AbortSignal): Promise<PullImageResponse> {
  const reference = req.image?.image ?? "";
  if (reference === "")
    throw new StatusError(Code.InvalidArgument, "image.image is missing: it names the image to pull");
  const credentials = credentialsOf(req.auth);
  const operation = d.operations.begin(
    { call: "PullImage", name: reference.slice(0, maxNameLength), podUid: req.sandboxConfig?.metadata?.uid ?? "" },
    traceContextOf(signal),
  );
  const image = await traced(operation, () =>
    d.puller.pull({ reference, credentials, signal, stage: (name) => operation.stage(name) }),
  );
  return { imageRef: image.id };
}

/** Throws InvalidArgument when `auth.auth` is not base64 of username:password. */
function credentialsOf(auth: AuthConfig | undefined): Credentials | undefined {
  if (auth === undefined) return undefined;
  const { identityToken, registryToken, serverAddress } = auth;
  const login = auth.username === "" && auth.password === "" ? decodeLogin(auth.auth) : auth;
  if (login.username === "" && identityToken === "" && registryToken === "") return undefined;
  return { username: login.username, password: login.password, identityToken, registryToken, serverAddress };
}

function decodeLogin(auth: string): { username: string; password: string } {
  if (auth === "") return { username: "", password: "" };
  // Buffer skips characters that are not base64, and would decode something else.
  const text = /^[A-Za-z0-9+/\r\n]*={0,2}[\r\n]*$/.test(auth) ? Buffer.from(auth, "base64").toString() : "";
  const colon = text.indexOf(":");
  if (colon < 0) throw new StatusError(Code.InvalidArgument, "auth.auth must be base64 of username:password");
  // Docker's tools pad it with NULs.
  return { username: text.slice(0, colon), password: text.slice(colon + 1).replace(/\0+$/, "") };
}
