// The one log view: virtual lines with ANSI colours, following, search, level filter, wrap, links to lines, download.
import { DownloadOutlined, VerticalAlignBottomOutlined } from "@ant-design/icons";
import { useVirtualizer } from "@tanstack/react-virtual";
import { Button, Checkbox, Input, Select } from "antd";
import { memo, type ReactNode, useEffect, useLayoutEffect, useMemo, useRef } from "react";
import { parseAnsi, stripAnsi } from "@/base/ansi";
import { formatClock, formatCount, type Stamp } from "@/base/format";

export interface LogRow {
  cursor: bigint;
  number: bigint;
  text: string;
  stream: string;
  task: string;
  /** Of several on several devices; else 0. */
  rank: number;
  time?: Stamp | undefined;
}
export type LogLevel = "error" | "warning" | "";

/** By the words that programs write; nothing else tells the level of a plain line. */
export function levelOf(text: string): LogLevel {
  if (/\b(error|fatal|critical|panic)\b|"level":\s*"(error|critical)"/i.test(text)) return "error";
  if (/\bwarn(ing)?\b/i.test(text)) return "warning";
  return "";
}

interface LogViewProps {
  rows: LogRow[];
  total: number;
  search: { shown: string; settled: string; set: (text: string) => void };
  level: string;
  setLevel: (level: string) => void;
  wrap: boolean;
  setWrap: (wrap: boolean) => void;
  follow: boolean;
  setFollow: (follow: boolean) => void;
  selected: string;
  select: (cursor: string) => void;
  loadEarlier?: (() => void) | undefined;
  loadLater?: (() => void) | undefined;
  download: () => void;
  bar?: ReactNode;
  waiting: string;
  height?: number;
}

const lineHeight = 20;

export function LogView(props: LogViewProps) {
  const { search, level, wrap, follow, setFollow, selected, loadEarlier, loadLater, height = 480 } = props;
  const rows = useMemo(
    () =>
      level
        ? props.rows.filter((row) => {
            const own = levelOf(row.text);
            return level === "error" ? own === "error" : own !== "";
          })
        : props.rows,
    [props.rows, level],
  );
  const scroll = useRef<HTMLDivElement>(null);
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroll.current,
    estimateSize: () => lineHeight,
    getItemKey: (index) => String(rows[index]?.cursor ?? index),
    overscan: 30,
  });
  const size = virtual.getTotalSize();

  // Earlier lines were put before: what one reads stays where it is.
  const before = useRef<{ first: bigint | undefined; size: number }>({ first: undefined, size: 0 });
  const first = rows[0]?.cursor;
  useLayoutEffect(() => {
    const element = scroll.current;
    const old = before.current;
    if (element && !follow && old.first !== undefined && first !== undefined && first < old.first) {
      element.scrollTop += size - old.size;
    }
    before.current = { first, size };
  }, [first, size, follow]);

  useEffect(() => {
    if (follow && rows.length > 0 && scroll.current) scroll.current.scrollTop = scroll.current.scrollHeight;
  }, [follow, rows.length, size]);

  // A linked line comes into view once, when it is there.
  const shownLink = useRef("");
  useEffect(() => {
    if (!selected || shownLink.current === selected) return;
    const index = rows.findIndex((row) => String(row.cursor) === selected);
    if (index < 0) return;
    shownLink.current = selected;
    virtual.scrollToIndex(index, { align: "center" });
  }, [selected, rows, virtual]);

  return (
    <div className="log">
      <div className="log-bar">
        <Input
          allowClear
          placeholder="Search the log"
          aria-label="Search the log"
          value={search.shown}
          onChange={(event) => search.set(event.target.value)}
          style={{ width: 220 }}
          data-shortcut="filter"
        />
        <Select
          aria-label="Level"
          value={level}
          onChange={props.setLevel}
          style={{ width: 150 }}
          options={[
            { value: "", label: "All lines" },
            { value: "warning", label: "Warnings, errors" },
            { value: "error", label: "Errors" },
          ]}
        />
        {props.bar}
        <Checkbox checked={wrap} onChange={(event) => props.setWrap(event.target.checked)}>
          Wrap
        </Checkbox>
        <span className="grow muted small" role="status">
          {search.settled || level
            ? `${formatCount(rows.length)} of ${formatCount(props.total)} lines match`
            : `${formatCount(props.total)} lines`}
        </span>
        <Button
          icon={<VerticalAlignBottomOutlined />}
          type={follow ? "primary" : "default"}
          aria-pressed={follow}
          onClick={() => setFollow(!follow)}
        >
          Follow
        </Button>
        <Button icon={<DownloadOutlined />} onClick={props.download} aria-label="Download the log" title="Download the log" />
      </div>
      <div
        className="log-scroll"
        style={{ height }}
        ref={scroll}
        tabIndex={0}
        role="log"
        aria-live="off"
        aria-label="Log lines"
        onScroll={(event) => {
          const element = event.currentTarget;
          const gap = element.scrollHeight - element.scrollTop - element.clientHeight;
          if (element.scrollTop < 400) loadEarlier?.();
          if (gap < 400) loadLater?.();
        }}
        onWheel={(event) => {
          if (follow && event.deltaY < 0) setFollow(false);
        }}
        onKeyDown={(event) => {
          if (follow && ["PageUp", "ArrowUp", "Home"].includes(event.key)) setFollow(false);
          if (event.key === "End") setFollow(true);
        }}
      >
        {rows.length === 0 ? (
          <div className="empty">{search.settled || level ? "No line matches." : props.waiting}</div>
        ) : (
          <div style={{ height: size, position: "relative" }}>
            {virtual.getVirtualItems().map((item) => {
              const row = rows[item.index];
              if (!row) return null;
              const key = String(row.cursor);
              return (
                <div
                  key={item.key}
                  data-index={item.index}
                  ref={wrap ? virtual.measureElement : undefined}
                  className={`log-line${wrap ? " wrap" : ""}${key === selected ? " selected" : ""} level-${levelOf(row.text) || "none"}`}
                  style={{ transform: `translateY(${item.start}px)` }}
                >
                  <button
                    type="button"
                    className="number"
                    title="Link to this line"
                    aria-label={`Link to line ${row.number + 1n}`}
                    onClick={() => {
                      shownLink.current = key;
                      props.select(key === selected ? "" : key);
                    }}
                  >
                    {formatCount(row.number + 1n)}
                  </button>
                  {row.time && <span className="clock">{formatClock(row.time)}</span>}
                  <span className="task">{row.rank > 0 ? `${row.task} rank ${row.rank}` : row.task}</span>
                  <LineText text={row.text} search={search.settled} />
                </div>
              );
            })}
          </div>
        )}
      </div>
    </div>
  );
}

const LineText = memo(function LineText({ text, search }: { text: string; search: string }) {
  if (search) return <span>{mark(stripAnsi(text), search)}</span>;
  return (
    <span>
      {parseAnsi(text).map((span, index) => {
        const names = [
          span.color === undefined ? "" : `ansi-${span.color}`,
          span.dim ? "muted" : "",
        ].join(" ");
        return (
          <span key={index} className={names} style={span.bold ? { fontWeight: 700 } : undefined}>
            {span.text}
          </span>
        );
      })}
    </span>
  );
});

function mark(text: string, search: string): ReactNode[] {
  const parts: ReactNode[] = [];
  const lower = text.toLowerCase();
  const wanted = search.toLowerCase();
  let from = 0;
  for (let at = lower.indexOf(wanted); at >= 0; at = lower.indexOf(wanted, from)) {
    parts.push(text.slice(from, at), <mark key={at}>{text.slice(at, at + wanted.length)}</mark>);
    from = at + wanted.length;
  }
  parts.push(text.slice(from));
  return parts;
}
