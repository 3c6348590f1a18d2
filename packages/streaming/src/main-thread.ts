import type { Duplex } from "node:stream";
import { Code, messageOf, StatusError } from "@keelson/base/status.ts";
import { closeFd } from "@keelson/linux/pipe.ts";
import { attachClient } from "./attachment.ts";
import { ExecPumps } from "./exec-pumps.ts";
import type { Outcome } from "./exit-status.ts";
import type { Admission, ClaimedClient } from "./http-server.ts";
import { join } from "./join.ts";
import { fdsOf, type FromWorker, type ToWorker } from "./messages.ts";
import type { RemoteStreams } from "./remote-streams.ts";
import type { StreamingRequest } from "./streaming-request.ts";

/** How long a command with a terminal waits for its client to send the terminal's size, in ms. */
const firstSizeMs = 300;

type Post = (message: FromWorker) => void;
type ToClient = Exclude<ToWorker, { is: "listen" | "close" }>;

/** The worker's side of the conversation with the main thread: asks it to serve clients, and carries their bytes. */
export class MainThread implements Admission {
  readonly #post: Post;
  readonly #clients = new Map<number, Client>();
  #lastClient = 0;

  constructor(post: Post) {
    this.#post = post;
  }

  async claim(kind: StreamingRequest["is"], token: string): Promise<ClaimedClient | undefined> {
    const id = (this.#lastClient += 1);
    const client = new Client(id, this.#post, () => this.#clients.delete(id));
    this.#clients.set(id, client);
    this.#post({ is: "claim", client: id, kind, token });
    return (await client.isClaimed) ? client : undefined;
  }

  take(message: ToClient): void {
    const client = this.#clients.get(message.client);
    if (client !== undefined) return client.take(message);
    // The client has gone before the answer came.
    for (const fd of fdsOf(message)) closeFd(fd);
  }
}

type Answer = Extract<ToClient, { is: "executing" | "attached" | "outcome" }>;

class Client implements ClaimedClient {
  /** Whether its token was valid. */
  readonly isClaimed: Promise<boolean>;
  readonly #id: number;
  readonly #post: Post;
  readonly #forget: () => void;
  readonly #claimed = Promise.withResolvers<boolean>();
  /** The answer to `run`. */
  readonly #answer = Promise.withResolvers<Answer>();
  readonly #outcome = Promise.withResolvers<Outcome>();
  readonly #connecting = new Map<number, PromiseWithResolvers<number>>();
  #request: StreamingRequest | undefined;
  #lastConnection = 0;

  constructor(id: number, post: Post, forget: () => void) {
    this.#id = id;
    this.#post = post;
    this.#forget = forget;
    this.isClaimed = this.#claimed.promise;
  }

  get request(): StreamingRequest {
    return this.#request!;
  }

  take(message: ToClient): void {
    switch (message.is) {
      case "claimed":
        this.#request = message.request;
        this.#claimed.resolve(message.request !== undefined);
        if (message.request === undefined) this.#forget();
        return;
      case "outcome":
        this.#outcome.resolve(message.outcome);
        this.#answer.resolve(message);
        return;
      case "executing":
      case "attached":
        this.#answer.resolve(message);
        return;
      case "connected":
        this.#connecting.get(message.connection)?.resolve(message.fd);
        return;
      case "refused":
        this.#connecting.get(message.connection)?.reject(new StatusError(Code.Unavailable, message.message));
    }
  }

  async run(streams: RemoteStreams): Promise<void> {
    const onAbort = () => this.#post({ is: "abort", client: this.#id, message: messageOf(streams.signal.reason) });
    streams.signal.addEventListener("abort", onAbort, { once: true });
    if (streams.signal.aborted) onAbort();
    try {
      await streams.finish(await this.#outcomeOf(streams));
    } finally {
      streams.signal.removeEventListener("abort", onAbort);
    }
  }

  async #outcomeOf(streams: RemoteStreams): Promise<Outcome> {
    const size = await streams.sizes?.first(firstSizeMs);
    this.#post({ is: "run", client: this.#id, size });
    const answer = await this.#answer.promise;
    if (answer.is === "outcome") return answer.outcome;
    const resize = (size: { rows: number; columns: number }) => this.#post({ is: "resize", client: this.#id, size });
    // Another size may have come meanwhile.
    if (streams.sizes?.last !== undefined && streams.sizes.last !== size) resize(streams.sizes.last);
    streams.sizes?.follow(resize);
    if (answer.is === "attached")
      return await attachClient(answer.container, streams, this.request.is === "attach" && this.request.choice.stdin);
    using pumps = new ExecPumps(answer.streams, streams, () => this.#post({ is: "stdin closed", client: this.#id }));
    const outcome = await this.#outcome.promise;
    if (outcome.is === "exited") await pumps.drained(streams.signal);
    return outcome;
  }

  readonly forward = async (port: number, client: Duplex): Promise<void> => {
    const connection = (this.#lastConnection += 1);
    const connecting = Promise.withResolvers<number>();
    this.#connecting.set(connection, connecting);
    this.#post({ is: "connect", client: this.#id, connection, port });
    let fd: number;
    try {
      fd = await connecting.promise;
    } finally {
      this.#connecting.delete(connection);
    }
    await join(client, fd);
  };

  [Symbol.dispose](): void {
    this.#forget();
    for (const { reject } of this.#connecting.values())
      reject(new StatusError(Code.Cancelled, "the client closed the connection"));
    this.#post({ is: "done", client: this.#id });
  }
}
