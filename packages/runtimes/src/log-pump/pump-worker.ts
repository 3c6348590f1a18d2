import { parentPort } from "node:worker_threads";
import { exhaustionOf } from "@keelson/base/exhaustion.ts";
import { toStatus } from "@keelson/base/status.ts";
import { closeFd } from "@keelson/linux/pipe.ts";
import { ContainerPump } from "./container-pump.ts";
import type { FromPump, ToPump } from "./messages.ts";

/** The program of the worker thread that copies the streams of the shims' containers. See messages.ts. */

const pumps = new Map<string, ContainerPump>();

function send(message: FromPump): void {
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- that is for windows of a browser
  parentPort?.postMessage(message);
}

async function perform(message: ToPump): Promise<void> {
  switch (message.is) {
    case "open": {
      const { container } = message;
      const { id } = container;
      if (pumps.has(id)) return;
      pumps.set(
        id,
        new ContainerPump(container, {
          stdinClosed: () => send({ is: "stdin closed", id }),
          warn: (text) => send({ is: "warning", id, text }),
        }),
      );
      return;
    }
    case "attach": {
      const pump = pumps.get(message.id);
      if (pump === undefined) {
        closeFd(message.fd);
        throw new Error("its streams are closed");
      }
      pump.attach(message.fd);
      return;
    }
    case "reopen":
      pumps.get(message.id)?.reopenLog();
      return;
    case "close":
      await pumps.get(message.id)?.close(message.stillMs);
      pumps.delete(message.id);
  }
}

parentPort?.on("message", (message: ToPump) => {
  const { call } = message;
  perform(message).then(
    () => send({ is: "done", call }),
    (error: unknown) => {
      const { code, message } = toStatus(exhaustionOf(error) ?? error);
      send({ is: "done", call, error: { code, message } });
    },
  );
});
