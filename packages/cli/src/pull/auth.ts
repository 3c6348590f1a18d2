import { Code, StatusError } from "@keelson/base/status.ts";
import { AuthConfig } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Io } from "../io.ts";

/** The flags for a registry's credentials; except for `username` each has an environment variable too. */
export interface AuthFlags {
  creds?: string;
  auth?: string;
  username?: string;
}

/** The credentials from the flags or from CRICTL_CREDS and CRICTL_AUTH, if any. Asks for the password of --username. */
export async function readAuth(io: Io, flags: AuthFlags): Promise<AuthConfig | undefined> {
  if (flags.username !== undefined && flags.username !== "") {
    return AuthConfig.fromPartial({
      username: flags.username,
      password: await io.readSecret(`Password of ${flags.username}: `),
    });
  }
  const creds = flags.creds ?? io.env["CRICTL_CREDS"] ?? "";
  const auth = flags.auth ?? io.env["CRICTL_AUTH"] ?? "";
  if (creds !== "" && auth !== "")
    throw new StatusError(Code.InvalidArgument, "--creds and --auth are both given; use one of them");
  if (auth !== "") return AuthConfig.fromPartial({ auth });
  if (creds === "") return undefined;
  const [username, ...password] = creds.split(":");
  if (username === "") throw new StatusError(Code.InvalidArgument, "--creds: must be USERNAME[:PASSWORD]");
  return AuthConfig.fromPartial({ username: username!, password: password.join(":") });
}
