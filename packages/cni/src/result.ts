import { isIP } from "node:net";
import { Code, StatusError, wrapError } from "@keelson/base/status.ts";
import { isJsonObject, type JsonObject, jsonType, parseJsonObject, printable } from "./json.ts";
import { isAtLeast, isSpecVersion, type SpecVersion } from "./version.ts";

/** A result has a handful of entries; with more than this it is broken or hostile. */
const maxEntries = 1024;
const maxStringLength = 4096;

/** More than any result needs; it is kept in memory and on disk for each pod. */
export const resultLimitBytes = 1 << 20;

export interface Interface {
  readonly name: string;
  readonly mac?: string;
  readonly mtu?: number;
  /** The path of the network namespace; absent for an interface of the host. */
  readonly sandbox?: string;
}

export interface IpConfig {
  /** In CIDR notation. */
  readonly address: string;
  readonly gateway?: string;
  /** Index into `interfaces`. */
  readonly interface?: number;
}

export interface Route {
  /** In CIDR notation. */
  readonly dst: string;
  readonly gw?: string;
}

export interface Dns {
  readonly nameservers: readonly string[];
  readonly domain?: string;
  readonly search: readonly string[];
  readonly options: readonly string[];
}

/** What an ADD has done, in one shape for all versions (CNI SPEC.md section 5). */
export interface Result {
  readonly interfaces: readonly Interface[];
  readonly ips: readonly IpConfig[];
  readonly routes: readonly Route[];
  readonly dns: Dns;
  /** As the plugin wrote it, including unknown keys, in the requested `cniVersion`: the next plugin's `prevResult`. */
  readonly raw: JsonObject;
}

/**
 * Parses what a plugin wrote on ADD. `asked` is the version that it was called with; an answer in another supported
 * version is converted to it. Throws InvalidArgument naming the key.
 */
export function parseResult(text: string, asked: SpecVersion): Result {
  try {
    return decodeResult(parseJsonObject(text, resultLimitBytes), asked);
  } catch (error) {
    throw wrapError("result", error);
  }
}

/** The same for a result that has already been parsed as JSON, such as a cached one. */
export function decodeResult(raw: JsonObject, asked: SpecVersion): Result {
  const answered = versionOf(raw, asked);
  const isOld = !isAtLeast(answered, "0.3.0");
  const shape = isOld ? decodeOld(raw) : decodeCurrent(raw);
  if (isOld === !isAtLeast(asked, "0.3.0")) return { ...shape, raw: { ...raw, cniVersion: asked } };
  return { ...shape, raw: isAtLeast(asked, "0.3.0") ? encodeCurrent(shape, asked) : encodeOld(shape, asked) };
}

type Shape = Omit<Result, "raw">;

/** As in libcni, a plugin that omits the version means the one that it was called with. */
function versionOf(raw: JsonObject, asked: SpecVersion): SpecVersion {
  const version = raw["cniVersion"];
  if (version === undefined || version === "") return asked;
  if (typeof version !== "string" || !isSpecVersion(version)) {
    throw invalid(
      `cniVersion: ${typeof version === "string" ? `"${printable(version)}"` : jsonType(version)} was not asked for (${asked} was)`,
    );
  }
  return version;
}

/** 0.3.0 and later. */
function decodeCurrent(raw: JsonObject): Shape {
  const interfaces = list(raw, "interfaces").map((entry, i) => decodeInterface(entry, `interfaces[${i}]`));
  const ips = list(raw, "ips").map((entry, i) => decodeIp(entry, `ips[${i}]`, interfaces.length));
  const routes = list(raw, "routes").map((entry, i) => decodeRoute(entry, `routes[${i}]`));
  return { interfaces, ips, routes, dns: decodeDns(raw["dns"]) };
}

/** 0.1.0 and 0.2.0: one address of each family, in `ip4` and `ip6`, and no interfaces. */
function decodeOld(raw: JsonObject): Shape {
  const ips: IpConfig[] = [];
  const routes: Route[] = [];
  for (const key of ["ip4", "ip6"] as const) {
    const value = raw[key];
    if (value === undefined || value === null) continue;
    const entry = object(value, key);
    const gateway = address(entry, "gateway", key);
    ips.push({ address: cidr(entry, "ip", key), ...(gateway === undefined ? {} : { gateway }) });
    routes.push(...list(entry, "routes", key).map((route, i) => decodeRoute(route, `${key}.routes[${i}]`)));
  }
  return { interfaces: [], ips, routes, dns: decodeDns(raw["dns"]) };
}

function decodeInterface(value: unknown, at: string): Interface {
  const raw = object(value, at);
  const name = string(raw, "name", at) ?? "";
  const mac = string(raw, "mac", at);
  const mtu = integer(raw, "mtu", at);
  const sandbox = string(raw, "sandbox", at);
  return {
    name,
    ...(mac === undefined ? {} : { mac }),
    ...(mtu === undefined ? {} : { mtu }),
    ...(sandbox === undefined ? {} : { sandbox }),
  };
}

function decodeIp(value: unknown, at: string, interfaceCount: number): IpConfig {
  const raw = object(value, at);
  const gateway = address(raw, "gateway", at);
  const index = integer(raw, "interface", at);
  if (index !== undefined && index >= interfaceCount)
    throw invalid(`${at}.interface: ${index} is not an index of interfaces, which has ${interfaceCount}`);
  return {
    address: cidr(raw, "address", at),
    ...(gateway === undefined ? {} : { gateway }),
    ...(index === undefined ? {} : { interface: index }),
  };
}

function decodeRoute(value: unknown, at: string): Route {
  const raw = object(value, at);
  const gw = address(raw, "gw", at);
  return { dst: cidr(raw, "dst", at), ...(gw === undefined ? {} : { gw }) };
}

function decodeDns(value: unknown): Dns {
  if (value === undefined || value === null) return { nameservers: [], search: [], options: [] };
  const raw = object(value, "dns");
  const domain = string(raw, "domain", "dns");
  const strings = (key: string): string[] =>
    list(raw, key, "dns").map((entry, i) => checkedString(entry, `dns.${key}[${i}]`) ?? "");
  return {
    nameservers: strings("nameservers"),
    ...(domain === undefined ? {} : { domain }),
    search: strings("search"),
    options: strings("options"),
  };
}

function encodeCurrent(shape: Shape, cniVersion: SpecVersion): JsonObject {
  // Before 1.0.0 each address names its family.
  const ips = isAtLeast(cniVersion, "1.0.0")
    ? shape.ips
    : shape.ips.map((ip) => ({ version: ip.address.includes(":") ? "6" : "4", ...ip }));
  return { cniVersion, interfaces: shape.interfaces, ips, routes: shape.routes, dns: shape.dns };
}

function encodeOld(shape: Shape, cniVersion: SpecVersion): JsonObject {
  const family = (isV6: boolean): object | undefined => {
    const ip = shape.ips.find((ip) => ip.address.includes(":") === isV6);
    if (ip === undefined) return undefined;
    const routes = shape.routes.filter((route) => route.dst.includes(":") === isV6);
    return { ip: ip.address, ...(ip.gateway === undefined ? {} : { gateway: ip.gateway }), routes };
  };
  return { cniVersion, ip4: family(false), ip6: family(true), dns: shape.dns };
}

function object(value: unknown, at: string): JsonObject {
  if (!isJsonObject(value)) throw invalid(`${at}: must be an object, not ${jsonType(value)}`);
  return value;
}

/** Go's encoder writes null for an empty list. */
function list(raw: JsonObject, key: string, at?: string): readonly unknown[] {
  const value = raw[key];
  if (value === undefined || value === null) return [];
  const path = at === undefined ? key : `${at}.${key}`;
  if (!Array.isArray(value)) throw invalid(`${path}: must be a list, not ${jsonType(value)}`);
  if (value.length > maxEntries)
    throw invalid(`${path}: has ${value.length} entries; at most ${maxEntries} are allowed`);
  return value;
}

function string(raw: JsonObject, key: string, at: string): string | undefined {
  return checkedString(raw[key], `${at}.${key}`);
}

/** For Go's plugins, absent, null and empty are the same. */
function checkedString(value: unknown, path: string): string | undefined {
  if (value === undefined || value === null || value === "") return undefined;
  if (typeof value !== "string") throw invalid(`${path}: must be a string, not ${jsonType(value)}`);
  if (value.length > maxStringLength) throw invalid(`${path}: is longer than ${maxStringLength} characters`);
  return value;
}

function integer(raw: JsonObject, key: string, at: string): number | undefined {
  const value = raw[key];
  if (value === undefined || value === null) return undefined;
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0)
    throw invalid(`${at}.${key}: must be a whole number that is not negative`);
  return value;
}

function address(raw: JsonObject, key: string, at: string): string | undefined {
  const value = string(raw, key, at);
  if (value === undefined) return undefined;
  if (isIP(value) === 0 || value.includes("%"))
    throw invalid(`${at}.${key}: "${printable(value)}" is not an IP address`);
  return value;
}

function cidr(raw: JsonObject, key: string, at: string): string {
  const value = string(raw, key, at);
  const match = /^([0-9a-fA-F:.]+)\/(\d{1,3})$/.exec(value ?? "");
  const family = isIP(match?.[1] ?? "");
  if (value === undefined || family === 0 || Number(match?.[2]) > (family === 4 ? 32 : 128)) {
    throw invalid(
      `${at}.${key}: ${value === undefined ? "is missing; it" : `"${printable(value)}"`} must be an IP address with a prefix length`,
    );
  }
  return value;
}

function invalid(message: string): StatusError {
  return new StatusError(Code.InvalidArgument, message);
}
