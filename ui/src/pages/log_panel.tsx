// The log of a run or a deployment: the last lines or those around a linked one, more in both directions, live at the end; searched by the
// server. Task, search, level, wrap, follow and the chosen line live in the address.
import { Select } from "antd";
import { useCallback, useEffect, useRef, useState } from "react";
import { clients } from "@/api/clients";
import { toProblem } from "@/api/problems";
import { useChanges } from "@/api/watch_context";
import { stripAnsi } from "@/base/ansi";
import { saveText } from "@/base/download";
import { formatExact } from "@/base/format";
import { type Problem } from "@/base/problem";
import { type LogLine } from "@/gen/slipway/v1/run_pb";
import { ProblemBox, Skeleton } from "@/widgets/feedback";
import { LogView } from "@/widgets/log_view";
import { useUrlState, useUrlText } from "@/widgets/url_state";

const pageLines = 500;
// Beyond this many lines in the page, the far end is dropped and read again when scrolled to.
const keptLines = 20_000;

interface LogPanelProps {
  /** Id of a run or a deployment. */
  scopeId: string;
  /** Names the file that is downloaded. */
  name: string;
  ended: boolean;
  /** Of a run: its tasks to choose from, and the one chosen. */
  tasks?: { value: string; label: string }[];
  task?: string;
  setTask?: (task: string) => void;
  height?: number;
}

export function LogPanel({ scopeId, name, ended, tasks = [], task = "", setTask, height = 480 }: LogPanelProps) {
  const [shown, settled, set] = useUrlText("search");
  const [level, setLevel] = useUrlState("level");
  const [wrap, setWrap] = useUrlState("wrap");
  const [followText, setFollow] = useUrlState("follow", "1");
  const [line, setLine] = useUrlState("line");
  const follow = followText === "1" && !line;
  const log = useLogLines(scopeId, task, settled, line);

  const download = useCallback(async () => {
    const parts: string[] = [];
    let after = 0n;
    for (;;) {
      const { lines } = await clients.runs.listLogLines({ runId: scopeId, task, afterCursor: after, limit: 5000 });
      if (lines.length === 0) break;
      for (const one of lines) {
        parts.push(`${one.time ? formatExact(one.time) : ""} ${one.task}/${one.attempt} ${one.stream} ${stripAnsi(one.text)}\n`);
      }
      after = lines[lines.length - 1]!.cursor;
    }
    saveText(`${name}${task ? `-${task}` : ""}.log`, parts.join(""));
  }, [scopeId, name, task]);

  if (log.problem && log.lines.length === 0) return <ProblemBox problem={log.problem} retry={log.reload} />;
  if (log.loading) return <Skeleton rows={10} />;
  return (
    <LogView
      rows={log.lines}
      total={log.total}
      search={{ shown, settled, set }}
      level={level}
      setLevel={setLevel}
      wrap={wrap === "1"}
      setWrap={(next) => setWrap(next ? "1" : "")}
      follow={follow}
      setFollow={(next) => {
        if (next && line) setLine("");
        setFollow(next ? "1" : "0");
      }}
      selected={line}
      select={setLine}
      loadEarlier={log.loadEarlier}
      loadLater={log.loadLater}
      download={() => void download()}
      waiting={ended ? "Nothing was written." : "Nothing written yet."}
      height={height}
      bar={
        setTask && (
          <Select
            aria-label="Task"
            value={task}
            onChange={setTask}
            style={{ width: 160 }}
            options={[{ value: "", label: "All tasks" }, ...tasks]}
          />
        )
      }
    />
  );
}

function useLogLines(runId: string, task: string, search: string, around: string) {
  const [lines, setLines] = useState<LogLine[]>([]);
  const [total, setTotal] = useState(0);
  const [loading, setLoading] = useState(true);
  const [problem, setProblem] = useState<Problem | null>(null);
  const [round, setRound] = useState(0);
  // What the held lines reach to: false at an end means that there is more to read there.
  const ends = useRef({ start: true, end: true, busy: false });
  const held = useRef<LogLine[]>([]);
  // The line that the page was opened with; one chosen later is in view already.
  const link = useRef(around);

  const keep = useCallback((next: LogLine[]) => {
    held.current = next;
    setLines(next);
  }, []);

  useEffect(() => {
    let stale = false;
    setLoading(held.current.length === 0);
    setProblem(null);
    const load = async () => {
      const base = { runId, task, search };
      const at = link.current ? BigInt(link.current) : 0n;
      if (at > 0n && !search) {
        const [before, after] = await Promise.all([
          clients.runs.listLogLines({ ...base, beforeCursor: at + 1n, tail: true, limit: pageLines }),
          clients.runs.listLogLines({ ...base, afterCursor: at, limit: pageLines }),
        ]);
        if (stale) return;
        ends.current = { start: before.lines.length < pageLines, end: after.lines.length < pageLines, busy: false };
        keep([...before.lines, ...after.lines]);
        setTotal(Number(after.total));
      } else {
        const last = await clients.runs.listLogLines({ ...base, tail: true, limit: pageLines });
        if (stale) return;
        ends.current = { start: last.lines.length < pageLines, end: true, busy: false };
        keep(last.lines);
        setTotal(Number(last.total));
      }
      link.current = "";
      setLoading(false);
    };
    load().catch((error: unknown) => {
      if (stale) return;
      setProblem(toProblem(error));
      setLoading(false);
    });
    return () => {
      stale = true;
    };
  }, [runId, task, search, round, keep]);

  useChanges((changes) => {
    const wanted = search.toLowerCase();
    const last = held.current[held.current.length - 1]?.cursor ?? 0n;
    const fresh: LogLine[] = [];
    for (const change of changes) {
      if (change.case !== "logLine") continue;
      const one = change.value;
      if (task && one.task !== task) continue;
      if (wanted && !one.text.toLowerCase().includes(wanted)) continue;
      if (one.cursor > last) fresh.push(one);
    }
    if (fresh.length === 0) return;
    setTotal((old) => old + fresh.length);
    if (!ends.current.end) return; // not at the end: they are read when scrolled to
    const next = [...held.current, ...fresh];
    if (next.length > keptLines) ends.current.start = false;
    keep(next.slice(-keptLines));
  });

  const more = (earlier: boolean) => {
    const edge = earlier ? held.current[0] : held.current[held.current.length - 1];
    const state = ends.current;
    if (state.busy || !edge || (earlier ? state.start : state.end)) return;
    state.busy = true;
    const where = earlier ? { beforeCursor: edge.cursor, tail: true } : { afterCursor: edge.cursor };
    clients.runs
      .listLogLines({ runId, task, search, limit: pageLines, ...where })
      .then(({ lines: read }) => {
        if (ends.current !== state) return;
        const whole = read.length < pageLines;
        if (earlier) {
          state.start = whole;
          const next = [...read.filter((one) => one.cursor < edge.cursor), ...held.current];
          if (next.length > keptLines) state.end = false;
          keep(next.slice(0, keptLines));
        } else {
          state.end = whole;
          keep([...held.current, ...read.filter((one) => one.cursor > edge.cursor)].slice(-keptLines));
        }
      })
      .catch((error: unknown) => setProblem(toProblem(error)))
      .finally(() => {
        state.busy = false;
      });
  };
  return {
    lines,
    total,
    loading,
    problem,
    reload: () => setRound((old) => old + 1),
    loadEarlier: () => more(true),
    loadLater: () => more(false),
  };
}
