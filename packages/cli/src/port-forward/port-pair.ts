import { Code, StatusError } from "@keelson/base/status.ts";

/** A local port, and the pod's port that it leads to. */
export interface PortPair {
  /** 0: any that is free. */
  readonly localPort: number;
  readonly podPort: number;
}

/** `8080:80`, `:80` for any free port, `80` for the same on both sides. Throws InvalidArgument. */
export function parsePortPair(text: string): PortPair {
  const [, local, pod = ""] = /^(?:(\d{0,5}):)?(\d{1,5})$/.exec(text) ?? [];
  const podPort = Number(pod);
  const localPort = local === undefined ? podPort : Number(local);
  if (podPort < 1 || podPort > 65535 || localPort > 65535)
    throw new StatusError(
      Code.InvalidArgument,
      `port ${text}: must be [local:]port with ports from 1 to 65535, such as 8080:80, :80 or 80`,
    );
  return { localPort, podPort };
}
