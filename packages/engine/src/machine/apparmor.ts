import { readFileSync } from "node:fs";
import type { Log } from "@keelson/base/log.ts";
import { messageOf } from "@keelson/base/status.ts";
import { isErrno } from "@keelson/linux/errno.ts";
import { run } from "@keelson/linux/run.ts";
import { appArmorProfile, defaultAppArmorName } from "@keelson/plan/apparmor-profile.ts";

const parserTimeoutMs = 30_000;

/**
 * Loads the RuntimeDefault profile into the kernel with apparmor_parser, of the package apparmor. Resolves to its name,
 * or to "" when it could not be loaded; the log then says why.
 *
 * @param parser absolute path; undefined when it is not installed.
 */
export async function loadDefaultAppArmor(parser: string | undefined, log: Log): Promise<string> {
  const without = "containers run without the default AppArmor profile, and those that ask for it are refused";
  if (parser === undefined) {
    log.warn(
      {},
      `AppArmor is on, but apparmor_parser is not installed; ${without}: install the package apparmor and restart keelsond`,
    );
    return "";
  }
  try {
    const { code, stderr } = await run(
      { file: parser, args: ["--replace", "--skip-cache"], stdin: Buffer.from(appArmorProfile()), env: {} },
      AbortSignal.timeout(parserTimeoutMs),
    );
    if (code === 0) return defaultAppArmorName;
    log.warn({ stderr: stderr.toString().slice(0, 1000) }, `apparmor_parser failed; ${without}`);
  } catch (error) {
    log.warn({ err: messageOf(error) }, `apparmor_parser failed; ${without}`);
  }
  return "";
}

/**
 * Whether the kernel has a profile of this name; undefined where that cannot be found out (securityfs is not mounted).
 */
export function isAppArmorProfileLoaded(
  name: string,
  list = "/sys/kernel/security/apparmor/profiles",
): boolean | undefined {
  try {
    return readFileSync(list, "utf8")
      .split("\n")
      .some((line) => line.replace(/ \([a-z]+\)$/, "") === name);
  } catch (error) {
    if (isErrno(error, "ENOENT", "EACCES")) return undefined;
    throw error;
  }
}
