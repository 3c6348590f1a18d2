import type { RecordStore } from "@keelson/store/record-store.ts";
import type { Turns } from "../capabilities.ts";

interface CreatedRecord {
  readonly id: string;
  readonly name: string;
  readonly state: { readonly is: string };
}

interface Leftovers<R extends CreatedRecord> {
  readonly records: RecordStore<R>;
  /** The pod whose lock serialises the calls that change a record. */
  readonly podIdOf: (record: R) => string;
  /** Takes one down and deletes its record. */
  readonly remove: (leftover: R) => Promise<void>;
}

/**
 * Removes what an earlier creation under this name left because its own rollback failed. A creation that is under way
 * holds the pod lock, so a record that is still `creating` once we hold it belongs to no call.
 */
export async function removeLeftover<R extends CreatedRecord>(
  { podLock }: Pick<Turns, "podLock">,
  { records, podIdOf, remove }: Leftovers<R>,
  name: string,
  signal: AbortSignal,
): Promise<void> {
  const found = records.byName(name);
  if (found?.state.is !== "creating") return;
  using _ = await podLock.acquire(podIdOf(found), signal);
  const leftover = records.get(found.id);
  if (leftover?.state.is === "creating") await remove(leftover);
}
