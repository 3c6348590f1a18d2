import { Code, StatusError } from "@keelson/base/status.ts";
import { type Challenge, parseChallenges } from "./challenge.ts";
import { readBody, refusalOf } from "./failure.ts";
import { type ForeignAddress, foreignAddress } from "./foreign-address.ts";
import type { RegistryHost } from "./hosts.ts";
import type { HttpRequest, Transport } from "./transport.ts";

/** The credentials of whoever pulls, as in the CRI's AuthConfig. Empty: not given. */
export interface Credentials {
  username: string;
  password: string;
  /** A refresh token for the registry's token server (OAuth2). */
  identityToken: string;
  /** A bearer token that the registry itself accepts. */
  registryToken: string;
  /** The registry for which they are meant; empty: all hosts of this pull. */
  serverAddress: string;
}

const tokenLimitBytes = 1024 * 1024;

/**
 * Finds the Authorization header for each host and scope of a pull. The registry's challenge is answered with Basic, or
 * with a token from its token server (distribution "Token Authentication", RFC 6750). Errors never contain secrets.
 */
export class Authorizer {
  readonly #transport: Transport;
  readonly #credentials: Credentials | undefined;
  readonly #known: Map<string, string>;

  /** `known`: headers that another authorizer has found, from its `known()`. */
  constructor(transport: Transport, credentials: Credentials | undefined, known: Iterable<[string, string]> = []) {
    this.#transport = transport;
    this.#credentials = credentials;
    this.#known = new Map(known);
  }

  /** The header to send to a host; undefined until it demands one. */
  headerFor(host: RegistryHost, scope: string): string | undefined {
    const registryToken = this.#credentialsFor(host)?.registryToken ?? "";
    return this.#known.get(keyOf(host, scope)) ?? (registryToken === "" ? undefined : `Bearer ${registryToken}`);
  }

  /** The headers found so far, to be passed to a worker thread. */
  known(): [string, string][] {
    return [...this.#known];
  }

  /**
   * Finds an answer to a 401 with this WWW-Authenticate header. Returns false when our credentials are not enough, or
   * would give the same header that has been refused. Throws the token server's errors.
   */
  async meet(host: RegistryHost, scope: string, header: string, signal: AbortSignal): Promise<boolean> {
    const before = this.headerFor(host, scope);
    const challenges = parseChallenges(header);
    const bearer = challenges.find((c) => c.scheme === "bearer");
    const basic = challenges.some((c) => c.scheme === "basic");
    const found =
      bearer === undefined
        ? basic
          ? basicHeader(this.#credentialsFor(host))
          : undefined
        : await this.#token(host, scope, bearer, signal);
    if (found === undefined || found === before) return false;
    this.#known.set(keyOf(host, scope), found);
    return true;
  }

  async #token(
    host: RegistryHost,
    scope: string,
    challenge: Challenge,
    signal: AbortSignal,
  ): Promise<string | undefined> {
    const credentials = this.#credentialsFor(host);
    if ((credentials?.registryToken ?? "") !== "") return undefined;
    const { url: realm, mayReach } = realmOf(host, challenge);
    const service = challenge.parameters.get("service") ?? "";
    const asked = { service, scope: challenge.parameters.get("scope") ?? scope };
    const request =
      (credentials?.identityToken ?? "") === ""
        ? getRequest(realm, asked, credentials)
        : refreshRequest(realm, asked, credentials?.identityToken ?? "");
    const doing = `token of ${realm.host}`;
    const response = await this.#transport.send(
      { ...request, tls: realm.host === new URL(host.baseUrl).host ? host.tls : undefined, mayReach },
      signal,
    );
    if (response.status !== 200) throw await refusalOf(doing, response);
    return `Bearer ${tokenIn(await readBody(doing, response, tokenLimitBytes), doing)}`;
  }

  /**
   * As in containerd, credentials without an address are sent to each host of the pull, including mirrors, which the
   * node's administrator has configured.
   */
  #credentialsFor(host: RegistryHost): Credentials | undefined {
    const address = this.#credentials?.serverAddress ?? "";
    if (address === "") return this.#credentials;
    const wanted = address.replace(/^https?:\/\//, "").replace(/\/.*$/s, "");
    const found = new URL(host.baseUrl).host;
    const isHub = /^(?:index\.|registry-1\.)?docker\.io$/;
    return wanted === found || (isHub.test(wanted) && isHub.test(found)) ? this.#credentials : undefined;
  }
}

function keyOf(host: RegistryHost, scope: string): string {
  return `${new URL(host.baseUrl).origin} ${scope}`;
}

function basicHeader(credentials: Credentials | undefined): string | undefined {
  if (credentials === undefined || credentials.username === "") return undefined;
  return `Basic ${Buffer.from(`${credentials.username}:${credentials.password}`).toString("base64")}`;
}

/**
 * The token server. By the specification a registry may name one on another host, and the credentials are meant for it:
 * whoever can answer in the registry's place would get them anyway. Throws Unauthenticated unless it can be reached as
 * safely as the registry itself.
 */
function realmOf(host: RegistryHost, challenge: Challenge): ForeignAddress {
  const realm = challenge.parameters.get("realm") ?? "";
  // A relative address would mean the registry itself, which the specification does not allow.
  return foreignAddress(
    new URL(host.baseUrl),
    URL.canParse(realm) ? realm : "none:",
    Code.Unauthenticated,
    "a token server",
  );
}

function getRequest(
  realm: URL,
  asked: { service: string; scope: string },
  credentials: Credentials | undefined,
): HttpRequest {
  const url = new URL(realm);
  if (asked.service !== "") url.searchParams.set("service", asked.service);
  for (const scope of asked.scope.split(" ")) url.searchParams.append("scope", scope);
  const authorization = basicHeader(credentials);
  return { method: "GET", url, headers: authorization === undefined ? {} : { authorization } };
}

function refreshRequest(realm: URL, asked: { service: string; scope: string }, identityToken: string): HttpRequest {
  const body = new URLSearchParams({
    grant_type: "refresh_token",
    client_id: "keelson",
    refresh_token: identityToken,
    ...asked,
  }).toString();
  const headers = {
    "content-type": "application/x-www-form-urlencoded",
    "content-length": String(Buffer.byteLength(body)),
  };
  return { method: "POST", url: realm, headers, body };
}

function tokenIn(bytes: Uint8Array, doing: string): string {
  try {
    const answer = JSON.parse(Buffer.from(bytes).toString("utf8")) as {
      token?: unknown;
      access_token?: unknown;
    } | null;
    const token = [answer?.token, answer?.access_token].find((t) => typeof t === "string" && t !== "");
    if (typeof token === "string" && /^[\x21-\x7e]+$/.test(token)) return token;
  } catch {
    // Treated as no token: the message of JSON.parse would contain a part of it.
  }
  throw new StatusError(Code.Unauthenticated, `${doing}: the answer has no token`);
}
