// Several runs side by side: which of their settings differ, and how a curve ended. The compare page uses it.
import { type Point } from "@/base/series";

/** Names whose texts are not the same in all of them, in the order given; of one run none differ. */
export function differing(sets: readonly Record<string, string>[], order: readonly string[]): string[] {
  const known = [...new Set([...order, ...sets.flatMap((one) => Object.keys(one))])];
  return known.filter((name) => new Set(sets.map((one) => one[name] ?? "")).size > 1);
}

export interface Ending {
  last?: number;
  least?: number;
}

export function endingOf(points: readonly Point[]): Ending {
  const values = points.map(([, y]) => y).filter(Number.isFinite);
  if (values.length === 0) return {};
  return { last: values[values.length - 1]!, least: values.reduce((a, b) => Math.min(a, b)) };
}
