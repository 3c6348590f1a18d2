import { messageOf } from "@keelson/base/status.ts";
import type { Logging } from "../capabilities.ts";

/** Recovers one thing. What fails is logged, and costs no other thing. */
export async function attempt(d: Logging, kind: string, id: string, body: () => Promise<void>): Promise<void> {
  try {
    await body();
  } catch (error) {
    d.log.error({ kind, id, err: error }, `a ${kind} cannot be recovered and is left as it is: ${messageOf(error)}`);
  }
}
