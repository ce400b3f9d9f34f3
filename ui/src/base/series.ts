// Points of curves: kept sorted and unique by x while they stream in, smoothed, written as CSV. Charts use it.

export type Point = readonly [x: number, y: number];

/** Adds a point in place. A point of the same x replaces the old one: a resumed run says its steps again. */
export function upsertPoint(points: Point[], x: number, y: number): void {
  let index = points.length;
  while (index > 0 && points[index - 1]![0] >= x) index -= 1;
  if (index < points.length && points[index]![0] === x) points[index] = [x, y];
  else points.splice(index, 0, [x, y]);
}

/**
 * Exponential moving average with `weight` from 0 (none) to below 1, corrected for its start at zero
 * (the bias correction of Adam, Kingma and Ba 2015). Points that are not finite are left out and stay gaps.
 */
export function smooth(points: readonly Point[], weight: number): Point[] {
  if (weight <= 0) return points.slice();
  let mean = 0;
  let count = 0;
  const result: Point[] = [];
  for (const [x, y] of points) {
    if (!Number.isFinite(y)) {
      result.push([x, y]);
      continue;
    }
    mean = mean * weight + y * (1 - weight);
    count += 1;
    result.push([x, mean / (1 - weight ** count)]);
  }
  return result;
}

/**
 * The mean of a rate, units per second, over all that was counted: by `counted`, the running total of units at the
 * same x. Undefined before there is any.
 */
export function meanRate(rates: readonly Point[], counted: readonly Point[]): number | undefined {
  const totals = new Map(counted);
  let units = 0;
  let seconds = 0;
  for (const [x, rate] of rates) {
    const total = totals.get(x);
    if (total === undefined || total <= units || !(rate > 0)) continue;
    seconds += (total - units) / rate;
    units = total;
  }
  return seconds > 0 ? units / seconds : undefined;
}

/** Every k-th point so that at most `most` remain, with the last one. */
export function thin<T>(points: readonly T[], most: number): T[] {
  if (points.length <= most) return points.slice();
  const step = Math.ceil(points.length / most);
  const result = points.filter((_, index) => index % step === 0);
  if ((points.length - 1) % step !== 0) result.push(points[points.length - 1]!);
  return result;
}

export interface NamedSeries {
  name: string;
  points: readonly Point[];
}

/** One row per x, one column per series, empty where a series has no point there. */
export function toRows(series: readonly NamedSeries[]): { x: number; values: (number | undefined)[] }[] {
  const rows = new Map<number, (number | undefined)[]>();
  series.forEach((one, column) => {
    for (const [x, y] of one.points) {
      let row = rows.get(x);
      if (!row) rows.set(x, (row = new Array<number | undefined>(series.length).fill(undefined)));
      row[column] = y;
    }
  });
  return [...rows.entries()].sort((a, b) => a[0] - b[0]).map(([x, values]) => ({ x, values }));
}

export function toCsv(xName: string, series: readonly NamedSeries[]): string {
  const quote = (text: string) => (/[",\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text);
  const lines = [[xName, ...series.map((one) => one.name)].map(quote).join(",")];
  for (const row of toRows(series)) lines.push([row.x, ...row.values.map((value) => value ?? "")].join(","));
  return lines.join("\n") + "\n";
}
