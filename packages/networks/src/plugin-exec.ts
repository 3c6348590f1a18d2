import { type PluginExec, stderrLimitBytes, stdoutLimitBytes } from "@keelson/cni/plugin.ts";
import { run } from "@keelson/linux/run.ts";

/** Plugins run iptables, ip and the like by name. */
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/**
 * Runs CNI plugins with posix_spawn, each in its own session, so that the processes that it started are killed with it.
 * `base` is their environment besides CNI_*: the daemon's own, which libcni passes on too (proxies, KUBECONFIG).
 */
export function createPluginExec(base: Readonly<Record<string, string | undefined>>): PluginExec {
  // CNI_* variables in the daemon's environment, such as CNI_NETNS, are not parameters of ours.
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
