import { isErrno } from "@keelson/linux/errno.ts";
import type { Beneath, BeneathLooker, SeenFile } from "@keelson/linux/look-beneath.ts";
import type { MountSpec } from "@keelson/oci/runtime-spec/spec.ts";

/** How many links path_resolution(7) allows in one path. */
const maxLinks = 40;

/** A file of a container. */
export interface FoundFile {
  /** Where it is on the host, free of links. */
  readonly at: Beneath;
  readonly seen: SeenFile;
}

interface Mounted {
  readonly destination: string;
  /** Undefined when it is not a directory or file of the host. */
  readonly source: string | undefined;
}

/**
 * Files as a process of a container finds them, seen from outside, also while the container changes them: each lookup
 * follows no link, and what a link says is followed here, step by step, beneath the container's root. A directory that
 * becomes a link between two steps is an error (ELOOP).
 */
export class ContainerFiles {
  readonly #looker: BeneathLooker;
  readonly #root: string;
  /** Outermost first. */
  readonly #mounts: readonly Mounted[];

  private constructor(looker: BeneathLooker, root: string, mounts: readonly Mounted[]) {
    this.#looker = looker;
    this.#root = root;
    this.#mounts = mounts;
  }

  static async of(looker: BeneathLooker, root: string, mounts: readonly MountSpec[]): Promise<ContainerFiles> {
    const image = new ContainerFiles(looker, root, []);
    // A destination may lead through links of the image.
    const placed = await Promise.all(
      mounts.map(async (mount) => ({
        destination: (await image.#resolve(mount.destination))?.inside ?? mount.destination,
        source: isBind(mount) ? mount.source : undefined,
      })),
    );
    const outermostFirst = placed.toSorted((a, b) => a.destination.length - b.destination.length);
    return new ContainerFiles(looker, root, outermostFirst);
  }

  /** `hidden` when the file is in a mount that cannot be seen from outside; undefined when it does not exist. */
  async find(path: string): Promise<FoundFile | "hidden" | undefined> {
    const found = await this.#resolve(path);
    if (found === undefined) return undefined;
    return found.at === undefined || found.seen === undefined ? "hidden" : { at: found.at, seen: found.seen };
  }

  /** Up to 4 KiB of a regular file, fewer bytes at its end. */
  async read({ at, seen }: FoundFile, offset: number, length: number): Promise<Buffer> {
    if (offset >= seen.size || length === 0) return Buffer.alloc(0);
    return await this.#looker.read(at, offset, length);
  }

  /** The path inside, without links, that `path` leads to; nothing is seen of what is in a hidden mount. */
  async #resolve(path: string): Promise<{ inside: string; at?: Beneath; seen?: SeenFile } | undefined> {
    let todo = partsOf(path);
    let done: string[] = [];
    // Mostly there is no link, and one look answers.
    if (!todo.includes("..")) {
      const inside = `/${todo.join("/")}`;
      const at = this.#hostPlace(inside);
      if (at === undefined) return { inside };
      const seen = await this.#lookIfNoLink(at);
      if (seen === undefined) return undefined;
      if (seen !== "link") return { inside, at, seen };
    }
    let last: { at: Beneath; seen: SeenFile } | undefined;
    for (let links = 0; todo.length > 0;) {
      const part = todo.shift()!;
      last = undefined;
      if (part === "..") {
        done.pop();
        continue;
      }
      const at = this.#hostPlace(`/${[...done, part].join("/")}`);
      // Whatever is there, this cannot be seen.
      if (at === undefined) return { inside: `/${[...done, part, ...todo].join("/")}` };
      const seen = await this.#look(at);
      if (seen === undefined) return undefined;
      if (seen.target === undefined) {
        done.push(part);
        last = { at, seen };
        continue;
      }
      if ((links += 1) > maxLinks) throw new Error(`${path} leads through more than ${maxLinks} links`);
      if (seen.target.startsWith("/")) done = [];
      todo = [...partsOf(seen.target), ...todo];
    }
    const inside = `/${done.join("/")}`;
    if (last !== undefined) return { inside, ...last };
    const at = this.#hostPlace(inside);
    if (at === undefined) return { inside };
    const seen = await this.#look(at);
    return seen === undefined ? undefined : { inside, at, seen };
  }

  async #lookIfNoLink(at: Beneath): Promise<SeenFile | "link" | undefined> {
    try {
      const seen = await this.#look(at);
      return seen?.target === undefined ? seen : "link";
    } catch (error) {
      if (isErrno(error, "ELOOP")) return "link";
      throw error;
    }
  }

  async #look(at: Beneath): Promise<SeenFile | undefined> {
    try {
      return await this.#looker.look(at);
    } catch (error) {
      if (isErrno(error, "ENOENT", "ENOTDIR")) return undefined;
      throw error;
    }
  }

  /** Undefined in a mount that cannot be seen from outside. */
  #hostPlace(inside: string): Beneath | undefined {
    const mount = this.#mounts.findLast((m) => inside === m.destination || inside.startsWith(`${m.destination}/`));
    if (mount === undefined) return { root: this.#root, path: inside };
    if (mount.source === undefined) return undefined;
    // Sources were resolved when the container was made: a link in one now was put there since.
    return { root: "/", path: mount.source + inside.slice(mount.destination.length) };
  }
}

function partsOf(path: string): string[] {
  return path.split("/").filter((part) => part !== "" && part !== ".");
}

function isBind({ type, options = [] }: MountSpec): boolean {
  return type === "bind" || options.includes("bind") || options.includes("rbind");
}
