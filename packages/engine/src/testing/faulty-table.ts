import { RecordTable } from "@keelson/store/record-table.ts";
import { InjectedFault } from "./fake-machine.ts";
import type { FakeNode } from "./fake-node.ts";

/** A table whose writes are effects too: the disk may be full. */
export class FaultyTable<T extends { readonly id: string }> extends RecordTable<T> {
  readonly #node: FakeNode;
  readonly #table: string;
  readonly #life: number;

  constructor(
    node: FakeNode,
    table: "pods" | "containers",
    parse: (value: unknown) => T,
    format: (record: T) => unknown,
  ) {
    super(node.db, table, parse, format);
    this.#node = node;
    this.#table = table;
    this.#life = node.lives;
  }

  override put(id: string, record: T): void {
    this.#checkAlive();
    this.#node.now(`database put ${this.#table}`, () => super.put(id, record));
  }

  override delete(id: string): void {
    this.#checkAlive();
    this.#node.now(`database delete ${this.#table}`, () => super.delete(id));
  }

  /** The calls of a killed daemon go on in this process, but must not write. */
  #checkAlive(): void {
    if (this.#life !== this.#node.lives) throw new InjectedFault("a daemon that was killed");
  }
}
