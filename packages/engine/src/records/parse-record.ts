import { existsSync } from "node:fs";
import * as v from "valibot";

/** Checks a value that was read back. Throws what is wrong with it, by field. */
export function parseAs<T>(schema: v.GenericSchema<unknown, T>, value: unknown): T {
  const result = v.safeParse(schema, value, { abortEarly: true });
  if (result.success) return result.output;
  const [issue] = result.issues;
  const path = v.getDotPath(issue);
  throw new Error(path === null ? issue.message : `${path}: ${issue.message}`);
}

/** The value where it fits the schema; undefined where not: of a record that cannot be read as a whole. */
export function readable<T>(schema: v.GenericSchema<unknown, T>, value: unknown): T | undefined {
  const result = v.safeParse(schema, value);
  return result.success ? result.output : undefined;
}

/** Ids are made by the daemon: 64 hex digits, safe in paths. */
export const idSchema = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/));

/** The one of these values that is an id; when several are, as the row or its record is damaged, one that has a directory. */
export function likelyId(values: readonly unknown[], dirOf: (id: string) => string): string | undefined {
  const ids = values.flatMap((value) => readable(idSchema, value) ?? []);
  return ids.find((id) => existsSync(dirOf(id))) ?? ids[0];
}

/** What linux/process-identity.ts calls ProcessIdentity. */
export const processIdentitySchema = v.object({
  pid: v.pipe(v.number(), v.integer(), v.minValue(2)),
  startTicks: v.pipe(v.number(), v.integer()),
});

/** What runtimes/runtime.ts calls RunningProcesses. */
export const processesSchema = { main: v.exactOptional(processIdentitySchema), monitor: processIdentitySchema };

/** Absolute, and without a part that leads elsewhere. */
export const cgroupPathSchema = v.pipe(v.string(), v.regex(/^\/(?!(.*\/)?\.\.?(\/|$))[^\0]*$/));

/** Bytes of a CRI message in base64: what is stored stays readable by later versions of the protocol. */
export function messageSchema<T>(message: { encode(m: T): { finish(): Uint8Array }; decode(bytes: Uint8Array): T }) {
  return {
    read: v.pipe(
      v.string(),
      v.rawTransform(({ dataset, addIssue, NEVER }): T => {
        try {
          return message.decode(Buffer.from(dataset.value, "base64"));
        } catch (error) {
          addIssue({ message: `not a message: ${(error as Error).message}` });
          return NEVER;
        }
      }),
    ),
    write: (m: T): string => Buffer.from(message.encode(m).finish()).toString("base64"),
  };
}
