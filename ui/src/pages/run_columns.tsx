// Columns of a list of runs, and what is shown of a run in one line.
import { Link } from "react-router-dom";
import { formatDone, formatDuration, formatNumber, toMillis } from "@/base/format";
import { type Run, type Task, TaskState } from "@/gen/slipway/v1/run_pb";
import { runLook, StateLabel } from "@/widgets/state";
import { type Column } from "@/widgets/table";
import { Ago, Elapsed } from "@/widgets/time";

export function currentTask(run: Run): Task | undefined {
  return (
    run.tasks.find((task) => task.state === TaskState.RUNNING) ?? run.tasks.find((task) => task.state === TaskState.QUEUED)
  );
}

/** "Train 120 / 300 steps, 2 m 12 s left", or why it waits. */
export function nowLine(run: Run): string {
  const task = currentTask(run);
  if (!task) return run.waitingReason;
  const parts = [task.title || task.name];
  const { progress } = task;
  if (task.state === TaskState.QUEUED) parts.push(task.waitingReason || run.waitingReason || "waits");
  else if (progress && progress.total > 0n) {
    parts.push(formatDone(progress.done, progress.total, progress.unit));
    if (progress.etaS >= 0) parts.push(`${formatDuration(progress.etaS)} left`);
  }
  return parts.filter(Boolean).join(" · ");
}

export const resultName = (name: string): string => {
  const words = name.replace(/_/g, " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
};

export const runColumns: Column<Run>[] = [
  {
    key: "name",
    title: "Run",
    width: "minmax(220px, 2fr)",
    sort: (row) => row.name,
    render: (row) => <Link to={`/runs/${row.id}`}>{row.name || row.id}</Link>,
  },
  {
    key: "state",
    title: "State",
    width: "130px",
    sort: (row) => runLook(row.state).word,
    render: (row) => <StateLabel look={runLook(row.state)} />,
  },
  {
    key: "now",
    title: "Now",
    width: "minmax(180px, 2fr)",
    render: (row) => <span className="muted">{row.error ? row.error.message : nowLine(row)}</span>,
  },
  {
    key: "results",
    title: "Results",
    width: "minmax(200px, 2fr)",
    render: (row) =>
      Object.entries(row.results)
        .sort(([a], [b]) => a.localeCompare(b))
        .map(([name, value]) => `${resultName(name)} ${formatNumber(value)}`)
        .join(" · "),
  },
  { key: "workflow", title: "Workflow", extra: true, render: (row) => row.workflow },
  {
    key: "time",
    title: "Time",
    width: "110px",
    align: "right",
    sort: (row) =>
      row.startedAt ? (row.finishedAt ? toMillis(row.finishedAt) : Date.now()) - toMillis(row.startedAt) : 0,
    render: (row) => <Elapsed start={row.startedAt} end={row.finishedAt} />,
  },
  {
    key: "created",
    title: "Created",
    width: "120px",
    sort: (row) => (row.createdAt ? toMillis(row.createdAt) : 0),
    render: (row) => <Ago time={row.createdAt} />,
  },
  { key: "by", title: "By", extra: true, width: "120px", render: (row) => row.createdBy },
  { key: "id", title: "Id", extra: true, render: (row) => <code>{row.id}</code> },
];
