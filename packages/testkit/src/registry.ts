import { randomBytes } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import type { Blob, Image, ImageIndex } from "./image.ts";

/** A request, recorded before it is answered. */
export interface RequestNote {
  readonly method: string;
  /** The path, with the query. */
  readonly path: string;
  readonly authorization: string | undefined;
  readonly range: string | undefined;
  readonly userAgent: string | undefined;
  /** The status of the answer; 0 before that, and when the connection was dropped instead. */
  status: number;
}

/** What goes wrong with the requests in its scope, instead of or in addition to the right answer. */
export type Fault =
  /** The connection breaks after that many bytes of the body; 0: before the status line. */
  | { readonly kind: "drop"; readonly afterBytes: number }
  /** A different answer. */
  | {
      readonly kind: "status";
      readonly status: number;
      readonly headers?: Readonly<Record<string, string>>;
      readonly body?: string;
    }
  /** The body's first byte is changed, but not its length. */
  | { readonly kind: "corrupt" }
  /** The body is sent at this pace. */
  | { readonly kind: "slow"; readonly bytesPerSecond: number }
  /** Range requests get the whole blob with 200, as some registries do. */
  | { readonly kind: "ignore-range" }
  /** Nothing is answered until `until` is resolved. */
  | { readonly kind: "hold"; readonly until: Promise<unknown> };

/** Which requests a fault applies to: those that match everything given. */
export interface FaultScope {
  readonly method?: string;
  /** A part of the path: a digest, a repository, `/manifests/`. */
  readonly pathIncludes?: string;
  /** How many requests it applies to before it is used up. Default: all. */
  readonly times?: number;
}

export interface RegistryOptions {
  /**
   * Who may pull. Default: everyone. `token` sends clients to `/token`, which asks for the password if there is one.
   */
  readonly auth?:
    | { readonly kind: "basic"; readonly username: string; readonly password: string }
    | { readonly kind: "token"; readonly username?: string; readonly password?: string };
  /** Redirects blobs to a second port, which refuses requests with an Authorization header, as object stores do. */
  readonly redirectBlobs?: boolean;
}

/**
 * A registry in this process, on 127.0.0.1, that implements the pull side of the OCI distribution specification
 * (https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md) and can be made to misbehave.
 */
export class Registry implements AsyncDisposable {
  readonly #options: RegistryOptions;
  readonly #server: Server;
  readonly #store: Server | undefined;
  readonly #repositories = new Map<
    string,
    { tags: Map<string, Blob>; manifests: Map<string, Blob>; blobs: Map<string, Blob> }
  >();
  readonly #tokens = new Map<string, string>();
  readonly #faults = new Set<{ fault: Fault; scope: FaultScope; left: number }>();
  /** Every request, in the order of arrival, including those for tokens and redirected blobs. */
  readonly requests: RequestNote[] = [];

  private constructor(options: RegistryOptions) {
    this.#options = options;
    this.#server = createServer((request, response) => this.#serve(request, response, false));
    if (options.redirectBlobs) this.#store = createServer((request, response) => this.#serve(request, response, true));
  }

  /** Starts listening on a free port. */
  static async start(options: RegistryOptions = {}): Promise<Registry> {
    const registry = new Registry(options);
    for (const server of registry.#servers) {
      await new Promise<void>((resolve, reject) => server.once("error", reject).listen(0, "127.0.0.1", resolve));
    }
    return registry;
  }

  /** `127.0.0.1:PORT`, as at the beginning of an image reference. */
  get host(): string {
    return hostOf(this.#server);
  }

  /** Serves an image, or an index with its images, and returns its reference: `127.0.0.1:PORT/REPOSITORY:TAG`. */
  add(repository: string, tag: string, content: Image | ImageIndex): string {
    let held = this.#repositories.get(repository);
    if (held === undefined)
      this.#repositories.set(repository, (held = { tags: new Map(), manifests: new Map(), blobs: new Map() }));
    for (const image of "images" in content ? content.images : [content]) {
      held.manifests.set(image.manifest.digest, image.manifest);
      for (const blob of [image.config, ...image.layers]) held.blobs.set(blob.digest, blob);
    }
    held.manifests.set(content.manifest.digest, content.manifest);
    held.tags.set(tag, content.manifest);
    return `${this.host}/${repository}:${tag}`;
  }

  /**
   * From now on `fault` applies to requests in `scope`, until it is used up or disposed of. Of several, the first
   * applies.
   */
  inject(fault: Fault, scope: FaultScope = {}): Disposable {
    const entry = { fault, scope, left: scope.times ?? Number.POSITIVE_INFINITY };
    this.#faults.add(entry);
    return { [Symbol.dispose]: () => void this.#faults.delete(entry) };
  }

  /** How many requests there have been, for example `{ method: "GET", pathIncludes: digest }`. */
  count(scope: Omit<FaultScope, "times"> = {}): number {
    return this.requests.filter((note) => fits(scope, note.method, note.path)).length;
  }

  /** Makes all tokens issued so far invalid. */
  expireTokens(): void {
    this.#tokens.clear();
  }

  /** Closes all connections and stops listening. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const server of this.#servers) {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    }
  }

  get #servers(): Server[] {
    return this.#store === undefined ? [this.#server] : [this.#server, this.#store];
  }

  #serve(request: IncomingMessage, response: ServerResponse, isStore: boolean): void {
    const path = request.url ?? "/";
    const note: RequestNote = {
      method: request.method ?? "",
      path,
      authorization: request.headers.authorization,
      range: request.headers.range,
      userAgent: request.headers["user-agent"],
      status: 0,
    };
    this.requests.push(note);
    this.#answer(request, response, note, isStore).catch((error: unknown) => {
      // This only happens to a client that has gone, and cannot read the reason.
      response.destroy(error instanceof Error ? error : undefined);
    });
  }

  async #answer(
    request: IncomingMessage,
    response: ServerResponse,
    note: RequestNote,
    isStore: boolean,
  ): Promise<void> {
    const fault = this.#faultFor(note);
    if (fault?.kind === "hold") await fault.until;
    const answer =
      fault?.kind === "status"
        ? answerOf(fault)
        : isStore
          ? this.#storeAnswer(note)
          : this.#registryAnswer(request, note);
    let body = answer.body;
    let status = answer.status;
    if (status === 200 && answer.ranges && note.range !== undefined && fault?.kind !== "ignore-range") {
      const range = rangeOf(note.range, body.length);
      if (range === undefined) {
        status = 416;
        answer.headers["content-range"] = `bytes */${body.length}`;
        body = Buffer.alloc(0);
      } else {
        status = 206;
        answer.headers["content-range"] = `bytes ${range.start}-${range.end - 1}/${body.length}`;
        body = body.subarray(range.start, range.end);
      }
    }
    if (fault?.kind === "drop" && fault.afterBytes === 0) return void response.destroy();
    note.status = status;
    response.writeHead(status, { ...answer.headers, "content-length": body.length });
    if (note.method === "HEAD") return void response.end();
    if (fault?.kind === "corrupt" && body.length > 0) {
      body = Buffer.from(body);
      body[0] = (body[0] ?? 0) ^ 0xff;
    }
    if (fault?.kind === "drop") {
      response.write(body.subarray(0, fault.afterBytes), () => response.destroy());
    } else if (fault?.kind === "slow") {
      const chunk = Math.max(1, Math.ceil(fault.bytesPerSecond / 50));
      for (let at = 0; at < body.length && !response.destroyed; at += chunk) {
        response.write(body.subarray(at, at + chunk));
        await sleep(20);
      }
      response.end();
    } else {
      response.end(body);
    }
  }

  #faultFor(note: RequestNote): Fault | undefined {
    for (const entry of this.#faults) {
      if (!fits(entry.scope, note.method, note.path)) continue;
      if (--entry.left <= 0) this.#faults.delete(entry);
      return entry.fault;
    }
    return undefined;
  }

  #storeAnswer(note: RequestNote): Answer {
    if (note.authorization !== undefined) return errorAnswer(400, "UNSUPPORTED", "only one auth mechanism is allowed");
    const [, repository = "", digest = ""] = /^\/(.+)\/(sha256:[0-9a-f]+)$/.exec(note.path) ?? [];
    const blob = this.#repositories.get(repository)?.blobs.get(digest);
    return blob === undefined
      ? errorAnswer(404, "BLOB_UNKNOWN", "no such object")
      : blobAnswer(blob, "application/octet-stream", true);
  }

  #registryAnswer(request: IncomingMessage, note: RequestNote): Answer {
    const url = new URL(note.path, `http://${this.host}`);
    if (url.pathname === "/token") return this.#tokenAnswer(request, url);
    const [, repository = "", kind = "", reference = ""] =
      /^\/v2\/(.+)\/(manifests|blobs|tags)\/([^/]+)$/.exec(url.pathname) ?? [];
    const refusal = this.#refusal(note.authorization, repository);
    if (refusal !== undefined) return refusal;
    if (note.method !== "GET" && note.method !== "HEAD")
      return errorAnswer(405, "UNSUPPORTED", "this registry is read only");
    if (url.pathname === "/v2/" || url.pathname === "/v2") return jsonAnswer(200, {});
    const held = this.#repositories.get(repository);
    if (held === undefined) return errorAnswer(404, "NAME_UNKNOWN", `repository ${repository} is not known`);
    switch (kind) {
      case "tags":
        return jsonAnswer(200, { name: repository, tags: [...held.tags.keys()].sort() });
      case "manifests": {
        const manifest = held.tags.get(reference) ?? held.manifests.get(reference);
        return manifest === undefined
          ? errorAnswer(404, "MANIFEST_UNKNOWN", `manifest ${reference} is not known`)
          : blobAnswer(manifest, manifest.mediaType, false);
      }
      default: {
        const blob = held.blobs.get(reference);
        if (blob === undefined) return errorAnswer(404, "BLOB_UNKNOWN", `blob ${reference} is not known`);
        if (this.#store === undefined) return blobAnswer(blob, "application/octet-stream", true);
        return {
          status: 307,
          headers: { location: `http://${hostOf(this.#store)}/${repository}/${reference}` },
          body: Buffer.alloc(0),
          ranges: false,
        };
      }
    }
  }

  /** https://distribution.github.io/distribution/spec/auth/token/ */
  #tokenAnswer(request: IncomingMessage, url: URL): Answer {
    const auth = this.#options.auth;
    if (auth?.kind !== "token") return errorAnswer(404, "UNSUPPORTED", "this registry gives no tokens");
    if (auth.password !== undefined && request.headers.authorization !== basic(auth.username ?? "", auth.password)) {
      return errorAnswer(401, "UNAUTHORIZED", "incorrect username or password", {
        "www-authenticate": 'Basic realm="token"',
      });
    }
    const token = randomBytes(16).toString("hex");
    this.#tokens.set(token, url.searchParams.getAll("scope").join(" "));
    return jsonAnswer(200, { token, access_token: token, expires_in: 300, issued_at: new Date().toISOString() });
  }

  #refusal(authorization: string | undefined, repository: string): Answer | undefined {
    const auth = this.#options.auth;
    if (auth === undefined) return undefined;
    if (auth.kind === "basic") {
      if (authorization === basic(auth.username, auth.password)) return undefined;
      return errorAnswer(401, "UNAUTHORIZED", "authentication required", {
        "www-authenticate": 'Basic realm="keelson"',
      });
    }
    const scope = repository === "" ? "" : `repository:${repository}:pull`;
    const granted = this.#tokens.get(/^Bearer (.+)$/i.exec(authorization ?? "")?.[1] ?? "");
    if (granted !== undefined && (scope === "" || granted.includes(scope))) return undefined;
    const challenge = `Bearer realm="http://${this.host}/token",service="${this.host}"${scope === "" ? "" : `,scope="${scope}"`}`;
    return errorAnswer(401, "UNAUTHORIZED", "authentication required", { "www-authenticate": challenge });
  }
}

interface Answer {
  readonly status: number;
  readonly headers: Record<string, string>;
  readonly body: Buffer;
  /** Whether a part of it may be requested. */
  readonly ranges: boolean;
}

function blobAnswer(blob: Blob, contentType: string, ranges: boolean): Answer {
  const headers = {
    "content-type": contentType,
    "docker-content-digest": blob.digest,
    etag: `"${blob.digest}"`,
    ...(ranges ? { "accept-ranges": "bytes" } : {}),
  };
  return { status: 200, headers, body: blob.bytes, ranges };
}

function jsonAnswer(status: number, value: unknown, headers: Record<string, string> = {}): Answer {
  return {
    status,
    headers: { "content-type": "application/json", ...headers },
    body: Buffer.from(JSON.stringify(value)),
    ranges: false,
  };
}

/** The distribution specification's error body ("Error Codes"). */
function errorAnswer(status: number, code: string, message: string, headers: Record<string, string> = {}): Answer {
  return jsonAnswer(status, { errors: [{ code, message, detail: null }] }, headers);
}

function answerOf(fault: Fault & { kind: "status" }): Answer {
  if (fault.body === undefined)
    return errorAnswer(fault.status, "UNKNOWN", "a fault that a test injected", { ...fault.headers });
  return { status: fault.status, headers: { ...fault.headers }, body: Buffer.from(fault.body), ranges: false };
}

/** RFC 9110 section 14.1.2, for a single range; the end is one past the last byte. */
function rangeOf(header: string, length: number): { start: number; end: number } | undefined {
  const [, first = "", last = ""] = /^bytes=(\d*)-(\d*)$/.exec(header) ?? [];
  if (first === "" && last === "") return undefined;
  const start = first === "" ? Math.max(0, length - Number(last)) : Number(first);
  const end = first === "" || last === "" ? length : Math.min(length, Number(last) + 1);
  return start < end ? { start, end } : undefined;
}

function fits(scope: FaultScope, method: string, path: string): boolean {
  return (
    (scope.method === undefined || scope.method === method) &&
    (scope.pathIncludes === undefined || path.includes(scope.pathIncludes))
  );
}

function basic(username: string, password: string): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString("base64")}`;
}

function hostOf(server: Server): string {
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}
