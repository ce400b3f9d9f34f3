// How numbers, sizes, times and durations are written everywhere in the console.

/** A protobuf timestamp, as generated code has it. */
export interface Stamp {
  seconds: bigint;
  nanos: number;
}

export type TimeLike = Stamp | Date | number;

/** Milliseconds since the epoch. */
export function toMillis(time: TimeLike): number {
  if (typeof time === "number") return time;
  if (time instanceof Date) return time.getTime();
  return Number(time.seconds) * 1000 + time.nanos / 1e6;
}

const integer = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

/** 1234567 -> "1,234,567". */
export function formatCount(value: number | bigint): string {
  return integer.format(value);
}

/** A measured number with up to `digits` significant digits: 0.000213, 1.29, 1,024. */
export function formatNumber(value: number, digits = 4): string {
  if (!Number.isFinite(value)) return "–";
  if (value !== 0 && (Math.abs(value) < 1e-4 || Math.abs(value) >= 1e9)) {
    return Number(value.toPrecision(Math.min(3, digits))).toExponential().replace("e+", "e");
  }
  return new Intl.NumberFormat("en-US", { maximumSignificantDigits: digits }).format(value);
}

/** 134515008 -> "135 M", as parameter counts are said. */
export function formatParameters(count: number | bigint): string {
  const value = Number(count);
  for (const [limit, unit] of [
    [1e12, "T"],
    [1e9, "B"],
    [1e6, "M"],
    [1e3, "K"],
  ] as const) {
    if (value >= limit) return `${formatNumber(value / limit, 3)} ${unit}`;
  }
  return formatCount(value);
}

/** Bytes in binary units: "92.1 MiB". */
export function formatBytes(bytes: number | bigint): string {
  let value = Number(bytes);
  if (!Number.isFinite(value)) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let unit = 0;
  while (Math.abs(value) >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? formatCount(value) : formatNumber(value, 3)} ${units[unit]}`;
}

/** Seconds as "3 m 12 s", "450 ms", "2 h 5 m", "3 d 4 h". */
export function formatDuration(seconds: number): string {
  if (!Number.isFinite(seconds) || seconds < 0) return "–";
  if (seconds < 0.0005) return "0 s";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const days = Math.floor(whole / 86400);
  const hours = Math.floor((whole % 86400) / 3600);
  const minutes = Math.floor((whole % 3600) / 60);
  if (days > 0) return hours ? `${days} d ${hours} h` : `${days} d`;
  if (hours > 0) return minutes ? `${hours} h ${minutes} m` : `${hours} h`;
  const rest = whole % 60;
  return rest ? `${minutes} m ${rest} s` : `${minutes} m`;
}

/** "12 s ago", "just now", "in 3 m". */
export function formatRelative(time: TimeLike, now: number): string {
  const seconds = (now - toMillis(time)) / 1000;
  const size = Math.abs(seconds);
  if (size < 5) return "just now";
  let text: string;
  if (size < 60) text = `${Math.floor(size)} s`;
  else if (size < 3600) text = `${Math.floor(size / 60)} m`;
  else if (size < 86400) text = `${Math.floor(size / 3600)} h`;
  else text = `${Math.floor(size / 86400)} d`;
  return seconds > 0 ? `${text} ago` : `in ${text}`;
}

/** Local date and time to the second: "2026-01-31 12:00:05". */
export function formatExact(time: TimeLike): string {
  const date = new Date(toMillis(time));
  const two = (value: number) => String(value).padStart(2, "0");
  return (
    `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ` +
    `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`
  );
}

/** Local time of day, to the millisecond: what a line of a log shows. */
export function formatClock(time: TimeLike): string {
  const date = new Date(toMillis(time));
  return `${formatExact(date).slice(11)}.${String(date.getMilliseconds()).padStart(3, "0")}`;
}

export function formatPercent(share: number): string {
  return Number.isFinite(share) ? `${Math.round(share * 100)} %` : "–";
}

/** "1 row", "3 rows". */
export function plural(count: number | bigint, word: string, many = `${word}s`): string {
  return `${formatCount(count)} ${Number(count) === 1 ? word : many}`;
}

/** "1 process", "5 steps": what a parameter is set to, in its unit, which is a plural or empty. */
export function withUnit(value: string, unit: string): string {
  const one = value === "1" ? unit.replace(/(?<=ss)es$|s$/, "") : unit;
  return [value, one].filter(Boolean).join(" ");
}

/** "46 / 60 steps" from an engine's count and the name of one unit. */
export function formatDone(done: number | bigint, total: number | bigint, unit: string): string {
  const units = unit && !unit.endsWith("s") ? `${unit}s` : unit;
  return [formatCount(done), Number(total) > 0 ? `/ ${formatCount(total)}` : "", units].filter(Boolean).join(" ");
}
