import { readFileSync, statSync } from "node:fs";
import { createSecureContext } from "node:tls";
import type { Log } from "@keelson/base/log.ts";
import { Code, messageOf, StatusError } from "@keelson/base/status.ts";

export interface CertificatePair {
  readonly cert: Buffer;
  readonly key: Buffer;
}

/** How often the files are checked, in ms. */
const lookMs = 2000;

/** A server's certificate and its key, in files that are renewed from outside. */
export class CertificateFiles implements Disposable {
  readonly #certFile: string;
  readonly #keyFile: string;
  #seen = "";
  #timer: NodeJS.Timeout | undefined;

  constructor(certFile: string, keyFile: string) {
    this.#certFile = certFile;
    this.#keyFile = keyFile;
  }

  /** Throws FailedPrecondition when they cannot be read or do not belong together. */
  read(): CertificatePair {
    this.#seen = this.#signature();
    try {
      const pair = { cert: readFileSync(this.#certFile), key: readFileSync(this.#keyFile) };
      createSecureContext(pair);
      return pair;
    } catch (error) {
      throw new StatusError(
        Code.FailedPrecondition,
        `TLS certificate ${this.#certFile} with key ${this.#keyFile}: ${messageOf(error)}`,
        error,
      );
    }
  }

  /** Calls `use` with each new pair. While the files do not belong together, the old pair stays. */
  follow(use: (pair: CertificatePair) => void, log: Log): void {
    this.#timer = setInterval(() => {
      if (this.#signature() === this.#seen) return;
      try {
        use(this.read());
        log.info({ certFile: this.#certFile }, "the streaming server has a new certificate");
      } catch (error) {
        log.warn({ err: error }, "the streaming server keeps its old certificate: the new one cannot be used");
      }
    }, lookMs).unref();
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }

  #signature(): string {
    return [this.#certFile, this.#keyFile]
      .map((file) => {
        const stat = statSync(file, { throwIfNoEntry: false, bigint: true });
        return stat === undefined ? "none" : `${stat.dev}:${stat.ino}:${stat.mtimeNs}:${stat.size}`;
      })
      .join(" ");
  }
}
