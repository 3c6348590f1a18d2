import { type PluginExec, stderrLimitBytes, stdoutLimitBytes } from "@keelson/cni/plugin.ts";
import { run } from "@keelson/linux/run.ts";

/** Plugins run iptables, ip and the like by name. */
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/**
 * Runs CNI plugins on posix_spawn, in a session of their own, so that what they started is killed with them. `base` is the
 * environment that they get beside CNI_*: the daemon's own, as libcni hands it on (proxies, KUBECONFIG).
 */
export function createPluginExec(base: Readonly<Record<string, string | undefined>>): PluginExec {
  // A CNI_NETNS of whoever started the daemon is no parameter of ours.
  const own = Object.fromEntries(Object.entries(base).filter(([name]) => !name.startsWith("CNI_")));
  return async ({ file, env, stdin }, signal) => {
    const {
      code,
      signal: endedBy,
      stdout,
      stderr,
    } = await run(
      {
        file,
        env: { ...own, PATH: base["PATH"] || defaultPath, ...env },
        stdin: Buffer.from(stdin),
        cwd: "/",
        stdoutLimitBytes,
        stderrLimitBytes,
      },
      signal,
    );
    return { code, signal: endedBy, stdout: stdout.toString(), stderr: stderr.toString() };
  };
}
