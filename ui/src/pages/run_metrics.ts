// The metrics of one run: read once, then grown by the watch stream. Charts and figures read from it.
import { useQuery } from "@tanstack/react-query";
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import { keys } from "@/api/cache";
import { clients } from "@/api/clients";
import { useChanges } from "@/api/watch_context";
import { toMillis } from "@/base/format";
import { type Point, upsertPoint } from "@/base/series";

export interface MetricLine {
  task: string;
  name: string;
  /** By step. */
  points: Point[];
}
export interface RunMetrics {
  lines: MetricLine[];
  loading: boolean;
  error: Error | null;
  reload: () => void;
  /** By step, of the first task that has such a metric. */
  points: (name: string) => Point[];
  latest: (name: string) => number | undefined;
  /** The same points by time (milliseconds) or by trained tokens instead of steps. */
  by: (line: MetricLine, x: XAxis) => Point[];
}
export type XAxis = "step" | "tokens" | "time";

interface Held {
  lines: Map<string, MetricLine>;
  /** Task and step to milliseconds. */
  times: Map<string, number>;
}

export function useRunMetrics(runId: string): RunMetrics {
  const held = useRef<Held>({ lines: new Map(), times: new Map() });
  const [version, setVersion] = useState(0);
  const query = useQuery({
    queryKey: keys.metrics(runId),
    queryFn: async () => (await clients.runs.listMetrics({ runId, task: "", names: [], maxPoints: 0 })).series,
  });

  useEffect(() => {
    if (!query.data) return;
    // What is read is whole up to its moment; live points that came meanwhile are in it or come after.
    const next: Held = { lines: new Map(), times: new Map() };
    for (const series of query.data) {
      const points: Point[] = [];
      for (const { step, value, time } of series.points) {
        points.push([Number(step), value]);
        if (time) next.times.set(`${series.task} ${step}`, toMillis(time));
      }
      next.lines.set(`${series.task} ${series.name}`, { task: series.task, name: series.name, points });
    }
    for (const [key, line] of held.current.lines) {
      const read = next.lines.get(key);
      const last = read?.points[read.points.length - 1]?.[0] ?? -1;
      for (const [x, y] of line.points) if (x > last) addPoint(next, line.task, line.name, x, y);
    }
    for (const [key, time] of held.current.times) if (!next.times.has(key)) next.times.set(key, time);
    held.current = next;
    setVersion((old) => old + 1);
  }, [query.data]);

  useChanges((changes) => {
    let changed = false;
    for (const change of changes) {
      if (change.case !== "metric" || change.value.runId !== runId) continue;
      const { task, step, values } = change.value;
      const x = Number(step);
      held.current.times.set(`${task} ${x}`, Date.now());
      for (const [name, value] of Object.entries(values)) addPoint(held.current, task, name, x, value);
      changed = true;
    }
    if (changed) setVersion((old) => old + 1);
  });

  // New arrays for each version: charts compare by identity.
  const lines = useMemo(
    () => [...held.current.lines.values()].map((line) => ({ ...line, points: line.points.slice() })),
    // eslint-disable-next-line react-hooks/exhaustive-deps
    [version],
  );
  const points = useCallback(
    (name: string) => lines.find((line) => line.name === name && line.points.length > 0)?.points ?? [],
    [lines],
  );
  const latest = useCallback((name: string) => points(name).at(-1)?.[1], [points]);
  const by = useCallback(
    (line: MetricLine, x: XAxis): Point[] => {
      if (x === "step") return line.points;
      if (x === "time") {
        const points: Point[] = [];
        for (const [step, value] of line.points) {
          const time = held.current.times.get(`${line.task} ${step}`);
          if (time !== undefined) points.push([time, value]);
        }
        return points;
      }
      const tokens = new Map(lines.find((one) => one.task === line.task && one.name === "tokens")?.points ?? []);
      return line.points.flatMap(([step, value]): Point[] => {
        const at = tokens.get(step);
        return at === undefined ? [] : [[at, value]];
      });
    },
    [lines],
  );
  return {
    lines,
    loading: query.isPending,
    error: query.data ? null : query.error,
    reload: () => void query.refetch(),
    points,
    latest,
    by,
  };
}

function addPoint(held: Held, task: string, name: string, x: number, y: number): void {
  const key = `${task} ${name}`;
  let line = held.lines.get(key);
  if (!line) held.lines.set(key, (line = { task, name, points: [] }));
  upsertPoint(line.points, x, y);
}
