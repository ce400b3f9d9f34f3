// Times as people say them, kept current, with the exact one on hover.
import { useSyncExternalStore } from "react";
import { formatDuration, formatExact, formatRelative, type TimeLike, toMillis } from "@/base/format";

// One clock for all: ticks each second while something listens.
const listeners = new Set<() => void>();
let now = Date.now();
let timer: ReturnType<typeof setInterval> | undefined;

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  timer ??= setInterval(() => {
    now = Date.now();
    for (const one of listeners) one();
  }, 1000);
  return () => {
    listeners.delete(listener);
    if (listeners.size === 0) {
      clearInterval(timer);
      timer = undefined;
    }
  };
}

/** Milliseconds since the epoch, to the second. */
export function useNow(): number {
  return useSyncExternalStore(subscribe, () => now);
}

export function Ago({ time }: { time: TimeLike | undefined }) {
  const current = useNow();
  if (time === undefined) return <span className="muted">–</span>;
  return (
    <time dateTime={new Date(toMillis(time)).toISOString()} title={formatExact(time)}>
      {formatRelative(time, current)}
    </time>
  );
}

/** From `start` to `end`, or to now while there is no end. */
export function Elapsed({ start, end }: { start: TimeLike | undefined; end?: TimeLike | undefined }) {
  const current = useNow();
  if (start === undefined) return <span className="muted">–</span>;
  const until = end === undefined ? Math.max(current, toMillis(start)) : toMillis(end);
  const seconds = (until - toMillis(start)) / 1000;
  return (
    <span className="num" title={`${formatExact(start)} – ${end === undefined ? "now" : formatExact(end)}`}>
      {formatDuration(end === undefined ? Math.floor(seconds) : seconds)}
    </span>
  );
}
