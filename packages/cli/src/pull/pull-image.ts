import {
  type AuthConfig,
  ImageStatusRequest,
  type PodSandboxConfig,
  PullImageRequest,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Session } from "../session.ts";
import { parsePullProgress, progressLine, type PullProgress } from "./progress.ts";

export interface PullOptions {
  readonly auth?: AuthConfig | undefined;
  readonly podConfig?: PodSandboxConfig | undefined;
  readonly annotations?: Record<string, string>;
  /** Undefined or 0: as long as it takes. */
  readonly timeoutMs?: number | undefined;
}

/** Pulls an image, with its progress on stderr if that is a terminal. Returns the runtime's image_ref. */
export async function pullImage(session: Session, image: string, options: PullOptions): Promise<string> {
  const request = PullImageRequest.fromPartial({ image: { image, annotations: options.annotations ?? {} } });
  request.auth = options.auth;
  request.sandboxConfig = options.podConfig;
  const timeoutMs = options.timeoutMs === 0 ? undefined : options.timeoutMs;
  const pull = session.image.call("pullImage", request, { timeoutMs });
  if (!session.io.stderr.isTerminal) return (await pull).imageRef;
  const over = new AbortController();
  const shown = showProgress(session, image, over.signal);
  try {
    return (await pull).imageRef;
  } finally {
    over.abort();
    await shown;
  }
}

const pollMs = 200;

/** A runtime that has reported no progress for this many polls is not asked again. */
const maxSilentPolls = 10;

async function showProgress(session: Session, image: string, over: AbortSignal): Promise<void> {
  const { io } = session;
  const startedAtMs = io.now();
  let silentPolls = 0;
  let progress: PullProgress | undefined;
  while (!over.aborted) {
    if (silentPolls < maxSilentPolls) {
      progress = await askProgress(session, image, over);
      silentPolls = progress === undefined ? silentPolls + 1 : 0;
    }
    if (over.aborted) break;
    await io.stderr.write(`\r\u001b[K${progressLine(image, progress, io.now() - startedAtMs, io.stderr.columns)}`);
    await io.sleep(pollMs, over).catch(() => {});
  }
  await io.stderr.write("\r\u001b[K");
}

async function askProgress(session: Session, image: string, over: AbortSignal): Promise<PullProgress | undefined> {
  try {
    const request = ImageStatusRequest.fromPartial({ image: { image }, verbose: true });
    const { info } = await session.image.call("imageStatus", request, { signal: over });
    return parsePullProgress(info["pullProgress"]);
  } catch {
    // The pull itself reports what is wrong with the runtime.
    return undefined;
  }
}
