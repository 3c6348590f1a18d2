/** How much output of ExecSync is held in memory for all calls together, in bytes: three of the largest answers. */
const execMemoryBytes = 104 * 1024 * 1024;

/**
 * Blocks up to this size are not counted, in bytes, so that a probe does not fail because other commands write much.
 * Each stream has one; the limit of calls under way bounds them.
 */
const freeBytes = 16 * 1024;

/** Commands that hold no more than this go before those that hold more, in bytes. */
const modestBytes = 1024 * 1024;

/** What one command holds of the memory. It is given back when this is disposed of. */
export interface ExecShare extends Disposable {
  /** Whether so many more bytes may be held. */
  take(bytes: number): boolean;
  /** The command has ended and its output is an answer: it is no longer refused for the sake of others. */
  keep(): void;
}

class Share {
  takenBytes = 0;
  isKept = false;
  readonly refuse: () => void;

  constructor(refuse: () => void) {
    this.refuse = refuse;
  }

  get isModest(): boolean {
    return this.takenBytes <= modestBytes;
  }
}

/**
 * The memory for the output of all commands of ExecSync, until their answers are sent. When it runs out, a command that
 * holds much is refused rather than one that holds little, and of those the youngest: were all refused that want more,
 * commands that grow at the same time would all fail.
 */
export class ExecMemory {
  readonly limitBytes: number;
  /** The oldest first. */
  readonly #shares = new Set<Share>();
  #usedBytes = 0;

  constructor(limitBytes: number = execMemoryBytes) {
    this.limitBytes = limitBytes;
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** For one command. `onRefused` is called at most once, and has to free what the command's output holds. */
  open(onRefused: () => void): ExecShare {
    const share = new Share(onRefused);
    this.#shares.add(share);
    return {
      take: (bytes) => bytes <= freeBytes || this.#take(share, bytes),
      keep: () => {
        share.isKept = true;
      },
      [Symbol.dispose]: () => this.#giveBack(share),
    };
  }

  #take(share: Share, bytes: number): boolean {
    if (!this.#shares.has(share)) return false;
    // As it would be, so that one that is about to hold much does not count as one that holds little.
    share.takenBytes += bytes;
    this.#usedBytes += bytes;
    while (this.#usedBytes > this.limitBytes) {
      const last = this.#last();
      this.#giveBack(last ?? share);
      (last ?? share).refuse();
      if (last === undefined || last === share) return false;
    }
    return true;
  }

  #last(): Share | undefined {
    const shares = [...this.#shares].filter(({ isKept, takenBytes }) => !isKept && takenBytes > 0);
    return shares.findLast(({ isModest }) => !isModest) ?? shares.at(-1);
  }

  #giveBack(share: Share): void {
    if (!this.#shares.delete(share)) return;
    this.#usedBytes -= share.takenBytes;
    share.takenBytes = 0;
  }
}
