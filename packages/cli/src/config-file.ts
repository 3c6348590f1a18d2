import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { Code, messageOf, StatusError } from "@keelson/base/status.ts";
import { ContainerConfig, PodSandboxConfig } from "@keelson/cri/gen/runtime/v1/api.ts";
import { fieldsOf, fromJson } from "@keelson/cri/json.ts";
import { parse } from "yaml";
import { type Io, note } from "./io.ts";

/** Reads a PodSandboxConfig in crictl's format; a missing uid becomes a random one. Throws InvalidArgument. */
export async function readPodConfig(io: Io, path: string): Promise<PodSandboxConfig> {
  const config = PodSandboxConfig.fromPartial(await readMessage(io, "PodSandboxConfig", path));
  if (config.metadata === undefined || config.metadata.name === "") throw invalid(path, "metadata.name is missing");
  if (config.metadata.namespace === "") throw invalid(path, "metadata.namespace is missing");
  if (config.metadata.uid === "") config.metadata.uid = randomUUID();
  return config;
}

/** Reads a ContainerConfig in crictl's format. Throws InvalidArgument naming the file. */
export async function readContainerConfig(io: Io, path: string): Promise<ContainerConfig> {
  const config = ContainerConfig.fromPartial(await readMessage(io, "ContainerConfig", path));
  if (config.metadata === undefined || config.metadata.name === "") throw invalid(path, "metadata.name is missing");
  if (config.image === undefined || config.image.image === "") throw invalid(path, "image.image is missing");
  if (config.image.userSpecifiedImage === "") config.image.userSpecifiedImage = config.image.image;
  return config;
}

async function readMessage(io: Io, type: string, path: string): Promise<Record<string, unknown>> {
  const text = await readText(io, path);
  const unknown: string[] = [];
  try {
    const json = adapt(type, parse(text), "", unknown);
    const message = fromJson(type, json, type);
    if (unknown.length > 0) await note(io, `${path}: ignored what a ${type} does not have: ${unknown.join(", ")}`);
    return message;
  } catch (error) {
    throw invalid(path, messageOf(error), error);
  }
}

async function readText(io: Io, path: string): Promise<string> {
  if (path === "-") return io.readStdin();
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    const isMissing = (error as NodeJS.ErrnoException).code === "ENOENT";
    throw invalid(path, isMissing ? "there is no such file" : messageOf(error), error);
  }
}

/**
 * Converts a file to what fromJson accepts, because crictl's reader is less strict: names in any case, unknown fields
 * ignored, numbers where text belongs, and the value of a KeyValue as plain text although it is bytes on the wire.
 */
function adapt(type: string, value: unknown, path: string, unknown: string[]): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  const adapted: Record<string, unknown> = {};
  for (const [name, one] of Object.entries(value)) {
    const field = fieldsOf(type).find((f) => f.key === name || f.name.toLowerCase() === name.toLowerCase());
    const place = path === "" ? name : `${path}.${name}`;
    if (field === undefined) {
      unknown.push(place);
      continue;
    }
    const convert = (v: unknown, at: string): unknown => {
      if (v === null) return v;
      if (field.kind === "message") return adapt(field.of!, v, at, unknown);
      if (field.kind === "string") return scalarText(v);
      if (field.kind === "map") return mapText(v);
      if (field.kind === "bytes" && type === "KeyValue") return Buffer.from(String(scalarText(v))).toString("base64");
      return v;
    };
    adapted[field.name] =
      field.repeated === true && Array.isArray(one)
        ? one.map((v, i) => convert(v, `${place}[${i}]`))
        : convert(one, place);
  }
  return adapted;
}

function scalarText(value: unknown): unknown {
  return typeof value === "number" || typeof value === "boolean" ? String(value) : value;
}

function mapText(value: unknown): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, v]) => [key, v === null ? "" : scalarText(v)]));
}

function invalid(path: string, what: string, cause?: unknown): StatusError {
  return new StatusError(Code.InvalidArgument, `${path === "-" ? "stdin" : path}: ${what}`, cause);
}
