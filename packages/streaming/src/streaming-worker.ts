import { parentPort } from "node:worker_threads";
import type { Log } from "@keelson/base/log.ts";
import { messageOf } from "@keelson/base/status.ts";
import { HttpServer } from "./http-server.ts";
import { MainThread } from "./main-thread.ts";
import type { FromWorker, ListenOptions, ToWorker } from "./messages.ts";

/** The program of the worker thread that serves the clients of exec, attach and port-forward. See messages.ts. */

const main = new MainThread(send);
let server: HttpServer | undefined;

const log: Log = { debug: logged("debug"), info: logged("info"), warn: logged("warn"), error: logged("error") };

function logged(level: keyof Log): Log["debug"] {
  return (fields, text) => send({ is: "log", level, fields, text });
}

function send(message: FromWorker): void {
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- that is for windows of a browser
  parentPort?.postMessage(message);
}

async function listen(options: ListenOptions): Promise<void> {
  server = new HttpServer(options, main, log);
  try {
    send({ is: "listening", ...(await server.listen()) });
  } catch (error) {
    send({ is: "not listening", message: messageOf(error) });
  }
}

async function close(graceMs: number): Promise<void> {
  await server?.close(graceMs);
  send({ is: "closed" });
}

parentPort?.on("message", (message: ToWorker) => {
  if (message.is === "listen") void listen(message.options);
  else if (message.is === "close") void close(message.graceMs);
  else main.take(message);
});
