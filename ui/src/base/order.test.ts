import { expect, test } from "vitest";
import { sortRows } from "@/base/order";

test("numbers sort by size, texts as people count, and rows without a value come last in either order", () => {
  const rows = [3, undefined, 1, 20];
  expect(sortRows(rows, (row) => row, false)).toEqual([1, 3, 20, undefined]);
  expect(sortRows(rows, (row) => row, true)).toEqual([20, 3, 1, undefined]);
  expect(sortRows(["run-10", "run-2", "Run-1"], (row) => row, false)).toEqual(["Run-1", "run-2", "run-10"]);
});

test("equal rows keep their order, and each key is made once", () => {
  let made = 0;
  const rows = [..."dcba"].map((name, index) => ({ name, group: index % 2 }));
  const sorted = sortRows(rows, (row) => (made++, row.group), true);
  expect(sorted.map((row) => row.name).join("")).toBe("cadb");
  expect(made).toBe(rows.length);
});
