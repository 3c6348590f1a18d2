import { Code, StatusError } from "@keelson/base/status.ts";
import { configuredOptions, runcOptions, runcOptionsType } from "@keelson/shim/any.ts";
import type { Any } from "@keelson/shim/gen/google/protobuf/known.ts";
import type { StreamOwner } from "../stream-owner.ts";

type Values = Readonly<Record<string, unknown>>;

/**
 * The `options` of a handler's section, as a shim is given them with each container. Those of containerd's own shim
 * have containerd's names; other shims have a configuration file, `ConfigPath`, or take a message of any other type, as
 * `TypeUrl` with `Value` in base64. Throws FailedPrecondition for anything else.
 *
 * @param runcDefaults for a shim of runc's kind: what it is given unless the section says otherwise.
 */
export function shimOptions(
  options: Values,
  runcDefaults: { readonly root: string; readonly systemdCgroup: boolean } | undefined,
): Any | undefined {
  if (runcDefaults !== undefined)
    return runcOptions({
      ...runcDefaults,
      ...Object.fromEntries(
        Object.entries(options).map(([key, value]) => [`${key[0]!.toLowerCase()}${key.slice(1)}`, value]),
      ),
    });
  const { TypeUrl, Value, ConfigPath, ConfigBody, ...others } = options;
  const [unknown] = Object.keys(others);
  if (unknown !== undefined) throw wrong(unknown, "is none of ConfigPath, ConfigBody, TypeUrl and Value");
  if (Value !== undefined)
    return { typeUrl: text("TypeUrl", TypeUrl), value: Buffer.from(text("Value", Value), "base64") };
  if (TypeUrl === undefined && ConfigPath === undefined && ConfigBody === undefined) return undefined;
  return configuredOptions({
    typeUrl: text("TypeUrl", TypeUrl ?? ""),
    configPath: text("ConfigPath", ConfigPath ?? ""),
    configBody: Buffer.from(text("ConfigBody", ConfigBody ?? "")),
  });
}

/** Options with the owner of a container's streams, for shims of runc's kind: they make the pipes themselves. */
export function ownedBy({ uid, gid }: StreamOwner, options: Any | undefined): Any | undefined {
  return options?.typeUrl === runcOptionsType ? runcOptions({ ioUid: uid, ioGid: gid }, options) : options;
}

function text(key: string, value: unknown): string {
  if (typeof value === "string") return value;
  throw wrong(key, "must be a string");
}

function wrong(key: string, problem: string): StatusError {
  return new StatusError(Code.FailedPrecondition, `its options.${key} ${problem}`);
}
