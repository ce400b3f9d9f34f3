// The order of a table's rows by one of its columns.

/** What a row is ordered by; undefined: it has no such value. */
export type SortKey = string | number | undefined;

// run-2 before run-10; made once, because a collator is dear.
const collator = new Intl.Collator(undefined, { numeric: true });

function compare(a: SortKey, b: SortKey): number {
  if (typeof a === "number" && typeof b === "number") return a < b ? -1 : a > b ? 1 : 0;
  return collator.compare(String(a), String(b));
}

/** The rows in order, those without a value last in either; equal ones stay as they were. Each key is made once. */
export function sortRows<T>(rows: readonly T[], keyOf: (row: T) => SortKey, descending: boolean): T[] {
  const sign = descending ? -1 : 1;
  const keyed = rows.map((row) => ({ row, key: keyOf(row) }));
  keyed.sort(({ key: a }, { key: b }) => {
    if (a === undefined || b === undefined) return Number(a === undefined) - Number(b === undefined);
    return compare(a, b) * sign;
  });
  return keyed.map(({ row }) => row);
}
