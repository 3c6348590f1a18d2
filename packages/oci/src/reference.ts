import { Code, StatusError } from "@keelson/base/status.ts";
import { isDigest } from "./image-spec/digest.ts";

/**
 * An image reference in which everything that users leave out is filled in: the registry, `library/` and the tag
 * `latest`. The grammar is distribution's (https://github.com/distribution/reference); the defaults are Docker's, as in
 * every Kubernetes runtime.
 */
export interface Reference {
  /** Registry host with an optional port; `docker.io` when none was given. */
  domain: string;
  /** The repository in the registry, such as `library/busybox`. */
  path: string;
  /** Undefined only when there is a digest. */
  tag: string | undefined;
  /** Such as `sha256:…`. When set, it alone determines the content, even if there is a tag too. */
  digest: string | undefined;
}

const pathComponent = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/;
const domainPattern =
  /^(?:(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])(?:\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))*|\[[a-fA-F0-9:]+\])(?::[0-9]{1,5})?$/;
const tagPattern = /^[\w][\w.-]{0,127}$/;
/** The longest `domain/path` that distribution allows. */
const nameLimit = 255;

/** Parses a reference as users write it. Throws InvalidArgument naming the part that is wrong. */
export function parseReference(text: string): Reference {
  if (text === "") throw invalid(text, "it is empty");
  if (text.length > nameLimit + 1 + 128 + 1 + 160) throw invalid(text, "it is too long");
  if (/^[a-f0-9]{64}$/.test(text)) throw invalid(text, "64 hex digits are an image id, not a name");
  const [beforeDigest, digest] = splitDigest(text);
  const [name, tag] = splitTag(text, beforeDigest);
  const { domain, path } = splitDomain(name);
  checkName(text, domain, path);
  return { domain, path, tag: tag ?? (digest === undefined ? "latest" : undefined), digest };
}

/** `domain/path[:tag][@digest]`, the form of the CRI's repo_tags and repo_digests. */
export function formatReference(reference: Reference): string {
  const tag = reference.tag === undefined ? "" : `:${reference.tag}`;
  const digest = reference.digest === undefined ? "" : `@${reference.digest}`;
  return `${reference.domain}/${reference.path}${tag}${digest}`;
}

/** `domain/path`. */
export function repositoryOf(reference: Reference): string {
  return `${reference.domain}/${reference.path}`;
}

function splitDigest(text: string): [string, string | undefined] {
  const at = text.indexOf("@");
  if (at === -1) return [text, undefined];
  const digest = text.slice(at + 1);
  if (!isDigest(digest)) throw invalid(text, "@ must be followed by a digest such as sha256: and 64 hex digits");
  return [text.slice(0, at), digest];
}

function splitTag(text: string, name: string): [string, string | undefined] {
  // A colon before the last slash belongs to a port.
  const colon = name.indexOf(":", name.lastIndexOf("/") + 1);
  if (colon === -1) return [name, undefined];
  const tag = name.slice(colon + 1);
  if (!tagPattern.test(tag))
    throw invalid(text, "a tag has 1 to 128 letters, digits, '_', '.' and '-' and does not begin with '.' or '-'");
  return [name.slice(0, colon), tag];
}

/**
 * Docker's rule: what comes before the first slash is a host if it has a dot, a colon or capitals, or is `localhost`.
 */
function splitDomain(name: string): { domain: string; path: string } {
  const slash = name.indexOf("/");
  const first = name.slice(0, Math.max(slash, 0));
  const isHost = slash !== -1 && (/[.:]/.test(first) || first === "localhost" || first !== first.toLowerCase());
  const domain = !isHost || first === "index.docker.io" ? "docker.io" : first;
  const path = isHost ? name.slice(slash + 1) : name;
  return { domain, path: domain === "docker.io" && !path.includes("/") ? `library/${path}` : path };
}

function checkName(text: string, domain: string, path: string): void {
  if (!domainPattern.test(domain)) throw invalid(text, `"${clip(domain)}" is not a registry host`);
  if (path !== path.toLowerCase()) throw invalid(text, "a repository has no capital letters");
  if (!path.split("/").every((component) => pathComponent.test(component))) {
    throw invalid(
      text,
      `"${clip(path)}" is not a repository: lower-case letters and digits, with '.', '_', '-' or '/' between them`,
    );
  }
  if (domain.length + 1 + path.length > nameLimit)
    throw invalid(text, `registry and repository are longer than ${nameLimit} characters`);
}

function invalid(text: string, why: string): StatusError {
  return new StatusError(Code.InvalidArgument, `image reference ${JSON.stringify(clip(text))}: ${why}`);
}

function clip(text: string): string {
  return text.length > 200 ? `${text.slice(0, 200)}…` : text;
}
