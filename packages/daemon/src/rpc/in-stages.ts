import type { Stage } from "@keelson/base/joined-calls.ts";
import { wrapError } from "@keelson/base/status.ts";

/** Runs a call's body; what it throws begins with the call and the stage that it was in. */
export async function inStages<T>(doing: string, tell: Stage, body: (stage: Stage) => Promise<T>): Promise<T> {
  let current = "";
  try {
    return await body((name) => {
      current = `: ${name}`;
      tell(name);
    });
  } catch (error) {
    throw wrapError(doing + current, error);
  }
}
