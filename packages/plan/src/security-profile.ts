import { SecurityProfile_ProfileType as ProfileType, type SecurityProfile } from "@keelson/cri/gen/runtime/v1/api.ts";
import { checkSingleLine, invalidField, quote, unsupportedHere } from "./field-check.ts";
import type { HostFacts } from "./host-facts.ts";

/** Which seccomp profile. The file of `localhost` is read and parsed later. */
export type SeccompPlan = { is: "none" } | { is: "default" } | { is: "localhost"; path: string };

interface SeccompFields {
  privileged: boolean;
  seccomp: SecurityProfile | undefined;
  seccompProfilePath: string;
}

interface AppArmorFields {
  privileged: boolean;
  apparmor: SecurityProfile | undefined;
  apparmorProfile: string;
}

/**
 * The seccomp profile from the new field, else from the deprecated one. When neither is set there is no profile (as in
 * containerd and the CRI's conformance suite), and privileged containers never have one. Throws InvalidArgument for a
 * bad profile, FailedPrecondition where the kernel has no seccomp.
 */
export function planSeccomp(field: string, security: SeccompFields, host: HostFacts): SeccompPlan {
  const profile = security.seccomp ?? deprecatedProfile(`${field}.seccomp_profile_path`, security.seccompProfilePath);
  if (profile === undefined) return { is: "none" };
  checkProfile(`${field}.seccomp`, profile);
  if (security.privileged || profile.profileType === ProfileType.Unconfined) return { is: "none" };
  if (!host.seccompEnabled)
    throw unsupportedHere(`${field}.seccomp`, "needs a kernel with seccomp, and this one has none");
  if (profile.profileType === ProfileType.RuntimeDefault) return { is: "default" };
  const path = localhostRef(profile);
  if (!path.startsWith("/"))
    throw invalidField(`${field}.seccomp.localhost_ref`, `${quote(path)} must be an absolute path`);
  return { is: "localhost", path };
}

/**
 * The name of the AppArmor profile; undefined for none. When no field is set, it is the default profile where the
 * kernel has AppArmor (kubernetes#51746). Where it has not, the default means no profile. Throws FailedPrecondition for
 * a profile by name there.
 */
export function planAppArmor(field: string, security: AppArmorFields, host: HostFacts): string | undefined {
  const asked = security.apparmor ?? deprecatedProfile(`${field}.apparmor_profile`, security.apparmorProfile);
  if (asked !== undefined) checkProfile(`${field}.apparmor`, asked);
  switch (asked?.profileType) {
    case ProfileType.Unconfined:
      return undefined;
    case ProfileType.Localhost:
      if (!host.appArmorEnabled)
        throw unsupportedHere(
          `${field}.apparmor`,
          `${quote(localhostRef(asked))} cannot be enforced: this kernel has no AppArmor`,
        );
      return localhostRef(asked);
    case ProfileType.RuntimeDefault:
    case undefined:
      return defaultAppArmor(field, asked !== undefined, security.privileged, host);
  }
}

function defaultAppArmor(field: string, explicit: boolean, privileged: boolean, host: HostFacts): string | undefined {
  if (!host.appArmorEnabled || privileged) return undefined;
  if (host.appArmorDefaultProfile !== "") return host.appArmorDefaultProfile;
  if (explicit)
    throw unsupportedHere(
      `${field}.apparmor`,
      "RuntimeDefault cannot be enforced: keelsond could not load its profile (its log says why; usually the package apparmor is missing); name a profile that is loaded, or use Unconfined",
    );
  return undefined;
}

/** The values of the deprecated fields: runtime/default, docker/default, unconfined, localhost/NAME. */
function deprecatedProfile(field: string, text: string): SecurityProfile | undefined {
  if (text === "") return undefined;
  if (text === "runtime/default" || text === "docker/default")
    return { profileType: ProfileType.RuntimeDefault, localhostRef: "" };
  if (text === "unconfined") return { profileType: ProfileType.Unconfined, localhostRef: "" };
  if (text.startsWith("localhost/"))
    return { profileType: ProfileType.Localhost, localhostRef: text.slice("localhost/".length) };
  throw invalidField(field, `${quote(text)} must be runtime/default, unconfined or localhost/NAME`);
}

function checkProfile(field: string, profile: SecurityProfile): void {
  if (!Object.values<number>(ProfileType).includes(profile.profileType))
    throw invalidField(`${field}.profile_type`, `${profile.profileType} is not a type of the CRI`);
  const isLocalhost = profile.profileType === ProfileType.Localhost;
  checkSingleLine(`${field}.localhost_ref`, profile.localhostRef, 4095);
  if (isLocalhost && localhostRef(profile) === "")
    throw invalidField(`${field}.localhost_ref`, "must not be empty with Localhost");
  if (!isLocalhost && profile.localhostRef !== "")
    throw invalidField(`${field}.localhost_ref`, "is only for Localhost");
}

/** Without the prefix of the deprecated field, which older kubelets send here too. */
function localhostRef(profile: SecurityProfile): string {
  return profile.localhostRef.startsWith("localhost/")
    ? profile.localhostRef.slice("localhost/".length)
    : profile.localhostRef;
}
