import { closeSync, constants, openSync, readSync } from "node:fs";
import { isErrno } from "./errno.ts";

/** A process that the kernel killed because memory ran out, as its log says. */
export interface OomKill {
  /** As ps shows it: chosen by the process, at most 15 bytes. */
  name: string;
  /** In the host's first PID namespace. */
  pid: number;
  /** The cgroup that the process was in, from the host's root cgroup. */
  cgroup: string;
  /** The cgroup whose limit was reached; undefined when the whole host ran out of memory. */
  limitedCgroup?: string;
}

/** The longest record that the kernel returns (kernel/printk: PRINTK_MESSAGE_MAX). */
const recordBytes = 8192;

/** More than any ring buffer holds: reading ends even if the log is written as fast as it is read. */
const maxRecords = 100_000;

/**
 * The OOM kills that the kernel's log still contains, oldest first; it is only a ring buffer. Empty where the log may
 * not be read (dmesg_restrict, containers).
 */
export function readOomKills(file = "/dev/kmsg"): OomKill[] {
  const fd = openLog(file);
  if (fd === undefined) return [];
  try {
    return [...recordsOf(fd)].flatMap((record) => parseOomKill(record) ?? []);
  } finally {
    closeSync(fd);
  }
}

/**
 * Parses a record of /dev/kmsg (Documentation/ABI/testing/dev-kmsg) about an OOM kill (mm/oom_kill.c, dump_oom_victim);
 * undefined for any other. Only the kernel's own records count: what programs write into the log has another facility.
 */
export function parseOomKill(record: string): OomKill | undefined {
  const [head, message] = splitOnce(record.split("\n", 1)[0]!, ";");
  if (Number.parseInt(head, 10) >> 3 !== 0) return undefined;
  const match =
    /^oom-kill:constraint=.*?,(?:oom_memcg=(.*)|global_oom),task_memcg=(.*),task=(.*),pid=(\d+),uid=\d+$/.exec(message);
  if (match === null) return undefined;
  const [, limitedCgroup, cgroup, name, pid] = match;
  return { name: name!, pid: Number(pid), cgroup: cgroup!, ...(limitedCgroup === undefined ? {} : { limitedCgroup }) };
}

function openLog(file: string): number | undefined {
  try {
    return openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    if (isErrno(error, "ENOENT", "EACCES", "EPERM", "ENXIO")) return undefined;
    throw error;
  }
}

function* recordsOf(fd: number): Generator<string> {
  const buffer = Buffer.alloc(recordBytes);
  for (let i = 0; i < maxRecords; i += 1) {
    const length = readRecord(fd, buffer);
    if (length === 0) return;
    if (length !== undefined) yield buffer.toString("utf8", 0, length);
  }
}

/** 0 at the end; undefined for a record that was overwritten meanwhile (EPIPE) or does not fit (EINVAL). */
function readRecord(fd: number, buffer: Buffer): number | undefined {
  try {
    return readSync(fd, buffer);
  } catch (error) {
    if (isErrno(error, "EAGAIN", "EPERM", "EACCES")) return 0;
    if (isErrno(error, "EPIPE", "EINVAL")) return undefined;
    throw error;
  }
}

function splitOnce(text: string, separator: string): [string, string] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)];
}
