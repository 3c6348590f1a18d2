import type { StatusError } from "@keelson/base/status.ts";
import { SupplementalGroupsPolicy, type LinuxContainerSecurityContext } from "@keelson/cri/gen/runtime/v1/api.ts";
import { checkInteger, checkSingleLine, invalidField, quote } from "./field-check.ts";

/** A user or group: an id, or a name from the image's /etc/passwd or /etc/group. */
export type IdOrName = { id: number } | { name: string };

/** The user as which a container will run, before the image's files are read. Plain JSON. */
export interface UserRequest {
  user: IdOrName;
  /** Undefined: the user's primary group in /etc/passwd, or 0 for a user who is not in it. */
  group?: IdOrName;
  supplementalGroups: number[];
  /** Merge adds the groups that list the user as a member in the image's /etc/group. */
  policy: "Merge" | "Strict";
}

/** `additionalGids` is sorted and includes the primary group. */
export interface ResolvedUser {
  uid: number;
  gid: number;
  additionalGids: number[];
}

/** runc and crun accept ids up to INT_MAX. */
const maxId = 2147483647;
/** NGROUPS_MAX of limits.h. */
const maxGroups = 65536;
/** The largest /etc/passwd and /etc/group that are read; images with larger ones are refused. */
export const maxUserFileBytes = 4 * 1024 * 1024;

/**
 * The user from the security context, else from the image's USER (`user`, `uid`, `user:group`, `uid:gid`), else root.
 * Throws InvalidArgument for ids out of range, for run_as_group without a user, and for run_as_user together with
 * run_as_username.
 */
export function planUser(security: LinuxContainerSecurityContext | undefined, imageUser: string): UserRequest {
  const field = "linux.security_context";
  const groups = (security?.supplementalGroups ?? []).map((gid, i) =>
    checkInteger(`${field}.supplemental_groups[${i}]`, gid, 0, maxId),
  );
  const policy = security?.supplementalGroupsPolicy === SupplementalGroupsPolicy.Strict ? "Strict" : "Merge";
  return { ...askedUser(field, security, imageUser), supplementalGroups: groups, policy };
}

/**
 * Finds the ids in the texts of the image's /etc/passwd and /etc/group (passwd(5), group(5)), which are undefined when
 * the image does not have the file. Malformed lines are skipped. Throws InvalidArgument for a name that is not found,
 * and for files or groups that are too large.
 */
export function resolveUser(
  request: UserRequest,
  passwdText: string | undefined,
  groupText: string | undefined,
): ResolvedUser {
  const entry = findUser(request.user, passwdText);
  if (entry === undefined && "name" in request.user)
    throw notInImage("user", request.user.name, "/etc/passwd", passwdText);
  const uid = "id" in request.user ? request.user.id : entry!.uid;
  const gid = request.group === undefined ? (entry?.gid ?? 0) : resolveGroup(request.group, groupText);
  const member = request.policy === "Merge" && entry !== undefined ? groupsOfMember(entry.name, groupText) : [];
  // The list must include the primary group: without it, setgroups(2) could lift a restriction that a file puts on that
  // group (CVE-2022-36109).
  const additionalGids = [...new Set([gid, ...member, ...request.supplementalGroups])].sort((a, b) => a - b);
  if (additionalGids.length > maxGroups)
    throw invalidField(
      "linux.security_context.supplemental_groups",
      `make ${additionalGids.length} groups; the kernel allows ${maxGroups}`,
    );
  return { uid, gid, additionalGids };
}

type AskedUser = Pick<UserRequest, "user" | "group">;

function askedUser(field: string, security: LinuxContainerSecurityContext | undefined, imageUser: string): AskedUser {
  const { runAsUser, runAsGroup, runAsUsername = "" } = security ?? {};
  if (runAsUser !== undefined && runAsUsername !== "")
    throw invalidField(`${field}.run_as_username`, "and run_as_user cannot both be set");
  const group =
    runAsGroup === undefined
      ? {}
      : { group: { id: checkInteger(`${field}.run_as_group`, runAsGroup.value, 0, maxId) } };
  if (runAsUser !== undefined)
    return { user: { id: checkInteger(`${field}.run_as_user`, runAsUser.value, 0, maxId) }, ...group };
  if (runAsUsername !== "") return { user: parseIdOrName(`${field}.run_as_username`, runAsUsername), ...group };
  if (runAsGroup !== undefined) throw invalidField(`${field}.run_as_group`, "needs run_as_user or run_as_username");
  return parseImageUser(imageUser);
}

/** An image's USER (image-spec config.md): `user`, `uid`, `user:group`, `uid:gid` and mixed forms. */
function parseImageUser(text: string): AskedUser {
  const [user = "", group = "", ...rest] = text.trim().split(":");
  if (rest.length > 0) throw invalidField("User of the image", `${quote(text)} must be USER or USER:GROUP`);
  const asked = user === "" ? { id: 0 } : parseIdOrName("User of the image", user);
  return group === "" ? { user: asked } : { user: asked, group: parseIdOrName("User of the image", group) };
}

function parseIdOrName(field: string, text: string): IdOrName {
  checkSingleLine(field, text, 256);
  if (/^-?\d+$/.test(text)) return { id: checkInteger(field, Number(text), 0, maxId) };
  if (text.includes(":")) throw invalidField(field, `${quote(text)} is neither a name nor an id`);
  return { name: text };
}

interface PasswdEntry {
  name: string;
  uid: number;
  gid: number;
}

function findUser(user: IdOrName, text: string | undefined): PasswdEntry | undefined {
  for (const [name = "", , uidText, gidText] of recordsOf("/etc/passwd", text)) {
    const uid = parseId(uidText);
    const gid = parseId(gidText);
    if (uid === undefined || gid === undefined || name === "") continue;
    if ("id" in user ? uid === user.id : name === user.name) return { name, uid, gid };
  }
  return undefined;
}

function resolveGroup(group: IdOrName, text: string | undefined): number {
  if ("id" in group) return group.id;
  for (const [name, , gidText] of recordsOf("/etc/group", text)) {
    const gid = parseId(gidText);
    if (gid !== undefined && name === group.name) return gid;
  }
  throw notInImage("group", group.name, "/etc/group", text);
}

function groupsOfMember(user: string, text: string | undefined): number[] {
  const gids: number[] = [];
  for (const [, , gidText, members = ""] of recordsOf("/etc/group", text)) {
    const gid = parseId(gidText);
    if (gid !== undefined && members.split(",").some((member) => member.trim() === user)) gids.push(gid);
  }
  return gids;
}

function* recordsOf(file: string, text: string | undefined): Generator<string[]> {
  if (text === undefined) return;
  if (text.length > maxUserFileBytes) throw invalidField("image", `has an ${file} of over ${maxUserFileBytes} bytes`);
  for (const line of text.split("\n")) yield line.trim().split(":");
}

function parseId(text: string | undefined): number | undefined {
  if (text === undefined || !/^\d{1,10}$/.test(text)) return undefined;
  const id = Number(text);
  return id <= maxId ? id : undefined;
}

function notInImage(what: string, name: string, file: string, text: string | undefined): StatusError {
  const problem = text === undefined ? `the image has no ${file}` : `it is not in the image's ${file}`;
  return invalidField(what, `${quote(name)} has no number: ${problem}; use a numeric id or another image`);
}
