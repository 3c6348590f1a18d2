import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

/** The plugin that hangs: the first that is called for a pod. */
const first = "bridge";
const sleeping = ["sleep", "86402"];

/** A directory with the machine's CNI plugins, for one daemon only, in which one plugin can be made to hang. */
export class PluginDir {
  /** For `bin_dirs`. */
  readonly path: string;
  readonly #waiting: string;

  /** Creates it in `dir`, with links to the plugins in `source`. */
  constructor(dir: string, source: string = machinePluginDir()) {
    this.path = join(dir, "plugins");
    this.#waiting = join(dir, "waiting");
    for (const made of [this.path, this.#waiting]) mkdirSync(made, { recursive: true });
    for (const name of readdirSync(source)) symlinkSync(join(source, name), join(this.path, name));
    if (!existsSync(join(this.path, first))) throw new Error(`${source} has no CNI plugin ${first}`);
  }

  /** From now on ADD sleeps forever; other commands still run the plugin. */
  hang(): void {
    const wrapper = `#!/bin/sh
[ "$CNI_COMMAND" = ADD ] || exec "${this.path}/.${first}"
echo $$ >"${this.#waiting}/$CNI_CONTAINERID"
exec ${sleeping.join(" ")}
`;
    renameSync(join(this.path, first), join(this.path, `.${first}`));
    writeFileSync(join(this.path, `.${first}.sh`), wrapper);
    chmodSync(join(this.path, `.${first}.sh`), 0o755);
    renameSync(join(this.path, `.${first}.sh`), join(this.path, first));
  }

  /** How many ADDs are sleeping. */
  count(): number {
    return this.#sleepers().length;
  }

  /** Restores the plugin, and kills the sleeping ADDs, so that their pods fail. */
  release(): void {
    if (existsSync(join(this.path, `.${first}`))) renameSync(join(this.path, `.${first}`), join(this.path, first));
    for (const pid of this.#sleepers()) process.kill(pid, "SIGKILL");
    for (const name of readdirSync(this.#waiting)) rmSync(join(this.#waiting, name));
  }

  #sleepers(): number[] {
    const pids = readdirSync(this.#waiting).map((name) => Number(readFileSync(join(this.#waiting, name), "utf8")));
    return pids.filter((pid) => pid > 0 && commandOf(pid) === sleeping.join(" "));
  }
}

/** Where Debian's package, or Kubernetes' installers, put the plugins. */
function machinePluginDir(): string {
  return ["/opt/cni/bin", "/usr/lib/cni"].find((path) => existsSync(join(path, first))) ?? "/usr/lib/cni";
}

function commandOf(pid: number): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").slice(0, -1).join(" ");
  } catch {
    return undefined; // it has ended
  }
}
