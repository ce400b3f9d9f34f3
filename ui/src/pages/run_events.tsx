// What the engines and the backend said of a run, newest first; one event whole beside the list.
import { useQuery } from "@tanstack/react-query";
import { Checkbox } from "antd";
import { useEffect, useMemo, useState } from "react";
import { keys } from "@/api/cache";
import { clients } from "@/api/clients";
import { toProblem } from "@/api/problems";
import { useChanges } from "@/api/watch_context";
import { formatClock, formatCount, formatDuration, formatNumber, toMillis } from "@/base/format";
import { type Run, type RunEvent } from "@/gen/slipway/v1/run_pb";
import { CodeBlock } from "@/widgets/copy";
import { Empty } from "@/widgets/feedback";
import { type Column, Table } from "@/widgets/table";
import { useUrlState, useUrlText } from "@/widgets/url_state";

// The newest are kept: a long run says more than a page should hold.
const keptEvents = 20_000;
// They come many times a second and are shown better elsewhere.
const frequent = new Set(["heartbeat", "progress", "metric"]);

interface Row {
  event: RunEvent;
  type: string;
  text: string;
}

export function RunEvents({ run, task }: { run: Run; task: string }) {
  const { events, loading, error, reload } = useRunEvents(run.id);
  const [shown, settled, set] = useUrlText("filter");
  const [chosen, setChosen] = useUrlState("event");
  const [all, setAll] = useUrlState("all");
  const rows = useMemo(() => {
    const words = settled.toLowerCase().split(/\s+/).filter(Boolean);
    const result: Row[] = [];
    for (let index = events.length - 1; index >= 0; index -= 1) {
      const event = events[index]!;
      if (task && event.task !== task) continue;
      const row = describe(event);
      if (all !== "1" && frequent.has(row.type)) continue;
      const text = `${row.type} ${event.task} ${row.text}`.toLowerCase();
      if (words.every((word) => text.includes(word))) result.push(row);
    }
    return result;
  }, [events, settled, task, all]);
  const open = events.find((event) => String(event.cursor) === chosen);

  const columns: Column<Row>[] = [
    {
      key: "time",
      title: "Time",
      width: "120px",
      sort: ({ event }) => (event.time ? toMillis(event.time) : 0),
      render: ({ event }) =>
        event.time && (
          <time className="mono" dateTime={new Date(toMillis(event.time)).toISOString()}>
            {formatClock(event.time)}
          </time>
        ),
    },
    { key: "task", title: "Task", width: "130px", sort: ({ event }) => event.task, render: ({ event }) => event.task },
    { key: "type", title: "Event", width: "120px", sort: ({ type }) => type, render: ({ type }) => type },
    {
      key: "text",
      title: "What",
      width: "minmax(260px, 4fr)",
      render: ({ event, text }) => (
        <a
          href={`?event=${event.cursor}`}
          onClick={(click) => {
            click.preventDefault();
            setChosen(String(event.cursor) === chosen ? "" : String(event.cursor));
          }}
        >
          {text || "–"}
        </a>
      ),
    },
    { key: "attempt", title: "Attempt", width: "90px", extra: true, align: "right", render: ({ event }) => event.attempt },
    { key: "seq", title: "Seq", width: "90px", extra: true, align: "right", render: ({ event }) => String(event.seq) },
  ];
  return (
    <div className="stack">
      {open && (
        <CodeBlock label="Event" wrap text={open.json ? pretty(open.json) : open.message} />
      )}
      <Table
        label="Events"
        rows={rows}
        columns={columns}
        rowKey={({ event }) => String(event.cursor)}
        loading={loading}
        problem={error && toProblem(error)}
        retry={reload}
        filter={{ shown, settled: settled || task || (all ? "" : "quiet"), set, hint: "Filter events" }}
        bar={
          <Checkbox checked={all === "1"} onChange={(event) => setAll(event.target.checked ? "1" : "")}>
            Metrics and progress too
          </Checkbox>
        }
        empty={<Empty title="No events yet" />}
      />
    </div>
  );
}

export function useRunEvents(runId: string) {
  const query = useQuery({
    queryKey: keys.events(runId),
    queryFn: async () => {
      let read: RunEvent[] = [];
      let after = 0n;
      for (;;) {
        const { events } = await clients.runs.listRunEvents({ runId, afterCursor: after, limit: 5000 });
        read = [...read, ...events].slice(-keptEvents);
        if (events.length < 5000) return read;
        after = events[events.length - 1]!.cursor;
      }
    },
    gcTime: 0,
  });
  const [live, setLive] = useState<RunEvent[]>([]);
  useEffect(() => setLive([]), [runId]);
  useChanges((changes) => {
    const fresh = changes.flatMap((change) => (change.case === "event" ? [change.value] : []));
    if (fresh.length > 0) setLive((old) => [...old, ...fresh].slice(-keptEvents));
  });
  const events = useMemo(() => {
    const read = query.data ?? [];
    const last = read[read.length - 1]?.cursor ?? 0n;
    return [...read, ...live.filter((event) => event.cursor > last)];
  }, [query.data, live]);
  return { events, loading: query.isPending, error: query.data ? null : query.error, reload: () => void query.refetch() };
}

function describe(event: RunEvent): Row {
  if (!event.json) return { event, type: event.type || "backend", text: event.message };
  try {
    const body = JSON.parse(event.json) as Record<string, unknown>;
    const type = event.type || String(body["type"] ?? "");
    return { event, type, text: sentence({ ...body, type }) };
  } catch {
    return { event, type: event.type, text: event.json };
  }
}

/** One line for people of an engine's event, by its type in the engine contract. */
function sentence(body: Record<string, unknown>): string {
  const text = (key: string) => (body[key] === undefined ? "" : String(body[key]));
  switch (body["type"]) {
    case "started":
      return `${text("engine")} ${text("version")}, process ${text("pid")}`;
    case "phase":
      return `${text("name")} ${text("state") === "begin" ? "began" : "ended"}`;
    case "progress": {
      const left = Number(body["eta_s"]);
      return `${text("phase")} ${text("done")} / ${text("total")} ${text("unit")}${left >= 0 ? `, ${formatDuration(left)} left` : ""}`;
    }
    case "metric":
      return `step ${formatCount(Number(body["step"]))}: ${Object.entries((body["values"] as Record<string, number>) ?? {})
        .map(([name, value]) => `${name} ${formatNumber(Number(value))}`)
        .join(", ")}`;
    case "checkpoint":
      return `step ${text("step")} in ${text("path")}`;
    case "artifact":
      return `${text("name")} in ${text("path")}`;
    case "sample":
      return `step ${text("step")}: ${text("text")}`;
    case "ready":
      return text("url");
    case "error":
    case "warning":
      return `${text("code")}: ${text("message")}`;
    case "finished":
      return text("status");
    default:
      return text("message");
  }
}

function pretty(json: string): string {
  try {
    return JSON.stringify(JSON.parse(json), null, 2);
  } catch {
    return json;
  }
}
