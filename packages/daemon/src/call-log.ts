import type { Log } from "@keelson/base/log.ts";
import { Code, codeName, messageOf } from "@keelson/base/status.ts";
import type { CallObserver } from "@keelson/cri/server.ts";

/**
 * Logs one line for each call: at debug, or at info if it failed in a way that a client does not expect. Of a request
 * it logs only ids: the rest may hold secrets.
 */
export function logCalls(log: Log): CallObserver {
  return {
    ended({ name, request, code, durationMs, error }) {
      const fields = { call: name, ...idsOf(request), code: codeName(code), ms: Math.round(durationMs * 10) / 10 };
      if (code === Code.Ok) log.debug(fields, "call");
      else if (quietCodes.has(code)) log.debug({ ...fields, error: messageOf(error) }, "call failed");
      else if (code === Code.Internal) log.error({ ...fields, err: error }, "call failed");
      else log.info({ ...fields, error: messageOf(error) }, "call failed");
    },
  };
}

/** Part of a client's normal work: looking for what is gone, trying calls that do not exist. */
const quietCodes: ReadonlySet<number> = new Set([Code.NotFound, Code.Unimplemented, Code.Cancelled]);

const idKeys = ["podSandboxId", "containerId"] as const;

function idsOf(request: unknown): Record<string, string> {
  const fields = (request ?? {}) as Record<string, unknown>;
  const ids = idKeys.flatMap((key) =>
    typeof fields[key] === "string" && fields[key] !== "" ? [[key, fields[key]] as const] : [],
  );
  return Object.fromEntries(ids);
}
