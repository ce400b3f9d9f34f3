// Runs compared: one metric of all of them in one chart, and their settings and results in a table that sorts. The
// address names a sweep, or the runs one by one.
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Select } from "antd";
import { memo, useMemo, useRef, useState } from "react";
import { Link } from "react-router-dom";
import { keys } from "@/api/cache";
import { clients } from "@/api/clients";
import { toProblem } from "@/api/problems";
import { useList, useRuns, useWorkflow } from "@/api/queries";
import { useChanges } from "@/api/watch_context";
import { differing, endingOf } from "@/base/compare";
import { formatNumber, plural, toMillis } from "@/base/format";
import { decodeText, sayValue } from "@/base/parameters";
import { type Point } from "@/base/series";
import { type Run } from "@/gen/slipway/v1/run_pb";
import { nowLine, resultName } from "@/pages/run_columns";
import { Chart, type ChartLine } from "@/widgets/chart";
import { Empty, ProblemBox, Skeleton } from "@/widgets/feedback";
import { Page, Section } from "@/widgets/page";
import { runLook, StateLabel } from "@/widgets/state";
import { type Column, Table } from "@/widgets/table";
import { Elapsed } from "@/widgets/time";
import { useUrlState } from "@/widgets/url_state";

const crumbs = [{ label: "Train", to: "/train" }];
const metrics = ["loss", "eval_loss", "grad_norm", "learning_rate", "tokens_per_second", "mfu", "peak_memory_bytes"];
// More runs, fewer points of each: the chart holds about as many in all.
const pointsOf = (runs: number) => Math.max(60, Math.min(1000, Math.floor(60_000 / Math.max(1, runs))));
// Runs that go on are read again at most so often.
const rereadMs = 3000;

export default function Compare() {
  const [sweep] = useUrlState("sweep");
  const [runsText] = useUrlState("runs");
  const ids = useMemo(() => runsText.split(".").filter(Boolean), [runsText]);
  return sweep ? <OfSweep id={sweep} /> : <OfIds ids={ids} />;
}

// The address changes with each sort: what only reads runs is not asked again.
const OfSweep = memo(function OfSweep({ id }: { id: string }) {
  const list = useList("run", `sweep:${id}`, 500);
  return <Loaded title="Sweep" runs={list.items} loading={list.loading} error={list.error} retry={list.reload} />;
});

const OfIds = memo(function OfIds({ ids }: { ids: string[] }) {
  return <Loaded title="Compare runs" {...useRuns(ids)} />;
});

interface LoadedProps {
  title: string;
  runs: Run[];
  loading: boolean;
  error: Error | null;
  retry?: () => void;
}

function Loaded({ title, runs, loading, error, retry }: LoadedProps) {
  if (error) {
    return (
      <Page title="Compare runs" crumbs={crumbs}>
        <ProblemBox problem={toProblem(error)} {...(retry ? { retry } : {})} />
      </Page>
    );
  }
  return loading ? <Skeleton /> : <Comparison title={title} runs={runs} />;
}

function Comparison({ title, runs }: { title: string; runs: Run[] }) {
  const cache = useQueryClient();
  const [metric, setMetric] = useUrlState("metric", "loss");
  const [pointed, setPointed] = useState<string | null>(null);
  // Progress makes new runs of the same names many times a second: the lines stay.
  const named = useSame(runs.flatMap((run) => [run.id, run.name]));
  const labels = useMemo(() => labelsOf(named), [named]);
  const ids = useMemo(() => [...labels.keys()].sort(), [labels]);
  const key = keys.compare(ids, metric);
  const query = useQuery({
    queryKey: key,
    queryFn: async () => (await clients.runs.compareMetrics({ runIds: ids, name: metric, maxPoints: pointsOf(ids.length) })).series,
    enabled: ids.length > 0,
  });
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  useChanges((changes) => {
    const own = changes.some(
      (change) => (change.case === "progress" && ids.includes(change.value.runId)) || (change.case === "run" && ids.includes(change.value.id)),
    );
    if (!own || timer.current) return;
    timer.current = setTimeout(() => {
      timer.current = undefined;
      void cache.invalidateQueries({ queryKey: key });
    }, rereadMs);
  });
  const points = useMemo(() => {
    const byRun = new Map<string, Point[]>();
    for (const { runId, series } of query.data ?? []) {
      byRun.set(runId, (series?.points ?? []).map(({ step, value }): Point => [Number(step), value]));
    }
    return byRun;
  }, [query.data]);
  const lines = useMemo(
    () => [...labels].map(([id, name]): ChartLine => ({ name, points: points.get(id) ?? [] })).filter((line) => line.points.length > 0),
    [labels, points],
  );
  const workflow = useWorkflow(runs[0]?.workflow ?? "").data;
  const columns = useMemo(() => columnsOf(runs, points, metric, workflow?.parameters.map((one) => [one.name, one.label]) ?? []), [runs, points, metric, workflow]);
  // The same element as long as it shows the same: pointing at a run draws its line, not the table.
  const table = useMemo(
    () => (
      <Table
        label="Runs compared"
        rows={runs}
        columns={columns}
        rowKey={(row) => row.id}
        rowLink={(row) => `/runs/${row.id}`}
        pointAt={(row) => setPointed(row ? (labels.get(row.id) ?? null) : null)}
        empty={<Empty title="No runs" />}
      />
    ),
    [runs, columns, labels],
  );
  if (runs.length === 0) {
    return (
      <Page title={title} crumbs={crumbs}>
        <Section>
          <Empty title="No runs to compare" action={<Link to="/train">Choose some</Link>}>
            Select runs in the list and compare them.
          </Empty>
        </Section>
      </Page>
    );
  }
  return (
    <Page
      title={title}
      crumbs={crumbs}
      summary={plural(runs.length, "run")}
      action={
        <Select
          aria-label="Metric"
          value={metric}
          onChange={setMetric}
          style={{ width: 200 }}
          options={metrics.map((name) => ({ value: name, label: resultName(name) }))}
        />
      }
    >
      <Section>
        {query.error && <ProblemBox problem={toProblem(query.error)} retry={() => void query.refetch()} />}
        <Chart
          id={`compare-${metric}`}
          title={resultName(metric)}
          lines={lines}
          xName="Step"
          xKind="value"
          format={formatNumber}
          group="compare"
          height={380}
          {...(runs.length > 8 ? { pointed } : { smoothable: true })}
          waiting={query.isPending ? "Loading" : "None of them has reported this yet"}
        />
      </Section>
      <Section title="Settings and results" flush>
        {table}
      </Section>
    </Page>
  );
}

/** The array given last as long as it holds the same texts. */
function useSame(texts: string[]): readonly string[] {
  const held = useRef<readonly string[]>(texts);
  if (held.current.length !== texts.length || held.current.some((one, index) => one !== texts[index])) held.current = texts;
  return held.current;
}

/** Names of lines by the runs' ids, from ids and names in turn: those of one name get a part of their id. */
function labelsOf(named: readonly string[]): Map<string, string> {
  const counts = new Map<string, number>();
  for (let i = 1; i < named.length; i += 2) counts.set(named[i]!, (counts.get(named[i]!) ?? 0) + 1);
  const labels = new Map<string, string>();
  for (let i = 0; i + 1 < named.length; i += 2) {
    const [id, name] = [named[i]!, named[i + 1]!];
    labels.set(id, counts.get(name) === 1 ? name : `${name} ${id.slice(-6)}`);
  }
  return labels;
}

function columnsOf(runs: Run[], points: Map<string, Point[]>, metric: string, labels: [string, string][]): Column<Run>[] {
  const settings = differing(
    runs.map((run) => run.parameters),
    labels.map(([name]) => name),
  );
  const results = [...new Set(runs.flatMap((run) => Object.keys(run.results)))].sort();
  const endings = new Map(runs.map((run) => [run.id, endingOf(points.get(run.id) ?? [])]));
  return [
    { key: "name", title: "Run", width: "minmax(200px, 2fr)", sort: (row) => row.name, render: (row) => <Link to={`/runs/${row.id}`}>{row.name}</Link> },
    { key: "state", title: "State", width: "130px", sort: (row) => runLook(row.state).word, render: (row) => <StateLabel look={runLook(row.state)} /> },
    ...settings.map((name): Column<Run> => ({
      align: runs.every((run) => typeof decodeText(run.parameters[name]) !== "string") ? "right" : undefined,
      key: `set-${name.replace(/_/g, "-")}`,
      title: labels.find(([one]) => one === name)?.[1] || name,
      width: "minmax(110px, 1fr)",
      sort: (row) => {
        const value = decodeText(row.parameters[name]);
        return typeof value === "number" ? value : value === null ? undefined : String(value);
      },
      render: (row) => sayValue(decodeText(row.parameters[name])),
    })),
    {
      key: "last",
      title: `${resultName(metric)}, last`,
      width: "120px",
      align: "right",
      sort: (row) => endings.get(row.id)?.last,
      render: (row) => formatNumber(endings.get(row.id)?.last ?? Number.NaN),
    },
    {
      key: "least",
      title: "Lowest",
      width: "110px",
      align: "right",
      extra: true,
      sort: (row) => endings.get(row.id)?.least,
      render: (row) => formatNumber(endings.get(row.id)?.least ?? Number.NaN),
    },
    ...results.map((name): Column<Run> => ({
      key: `result-${name.replace(/_/g, "-")}`,
      title: resultName(name),
      width: "130px",
      align: "right",
      sort: (row) => row.results[name],
      render: (row) => formatNumber(row.results[name] ?? Number.NaN),
    })),
    {
      key: "time",
      title: "Time",
      width: "110px",
      align: "right",
      sort: (row) => (row.startedAt ? (row.finishedAt ? toMillis(row.finishedAt) : Date.now()) - toMillis(row.startedAt) : 0),
      render: (row) => <Elapsed start={row.startedAt} end={row.finishedAt} />,
    },
    { key: "now", title: "Now", width: "minmax(160px, 1fr)", extra: true, render: (row) => nowLine(row) },
  ];
}
