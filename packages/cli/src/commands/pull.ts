import type { Command } from "commander";
import type { App } from "../app.ts";
import { readPodConfig } from "../config-file.ts";
import { addExamples, addPullFlags, listOption } from "../flags.ts";
import { safeText } from "../output/safe-text.ts";
import { type AuthFlags, readAuth } from "../pull/auth.ts";
import { pullImage } from "../pull/pull-image.ts";
import { pullTimeoutMs, type PullTimeoutFlags } from "../pull/timeout.ts";
import { parsePairs } from "../select.ts";

interface PullFlags extends AuthFlags, PullTimeoutFlags {
  podConfig?: string;
  annotation?: string[];
}

/** `pull`: fetches an image from its registry. */
export function addPull(program: Command, app: App): void {
  const command = program
    .command("pull")
    .description("pull an image from its registry; progress is shown on a terminal")
    .argument("<image>", "NAME[:TAG] or NAME@DIGEST")
    .option("--pod-config <file>", "the configuration of the pod that the image is for")
    .addOption(listOption("-a, --annotation <key=value>", "an annotation for the runtime (repeatable)"))
    .action((image: string, flags: PullFlags) =>
      app.run(async (session) => {
        const imageRef = await pullImage(session, image, {
          auth: await readAuth(session.io, flags),
          podConfig: flags.podConfig === undefined ? undefined : await readPodConfig(session.io, flags.podConfig),
          annotations: parsePairs(flags.annotation ?? [], "--annotation"),
          timeoutMs: pullTimeoutMs(session.io, flags),
        });
        await session.io.stdout.write(`Image is up to date for ${safeText(imageRef)}\n`);
      }),
    );
  addExamples(addPullFlags(command), [
    ["keelctl pull docker.io/library/busybox:1.36", "by tag"],
    ["keelctl pull -u me registry.example.com/app", "asks for the password of `me`"],
  ]);
}
