// A run's curves, by step, tokens or time.
import { Segmented } from "antd";
import { useMemo } from "react";
import { toProblem } from "@/api/problems";
import { formatBytes, formatNumber, formatPercent } from "@/base/format";
import { type Run, TaskState } from "@/gen/slipway/v1/run_pb";
import { resultName } from "@/pages/run_columns";
import { type RunMetrics, type XAxis } from "@/pages/run_metrics";
import { byteTicks, Chart, type ChartLine } from "@/widgets/chart";
import { Empty, ProblemBox, Skeleton } from "@/widgets/feedback";
import { useUrlState } from "@/widgets/url_state";

interface ChartPlan {
  id: string;
  title: string;
  names: string[];
  smoothable?: boolean;
  format?: (value: number) => string;
  bytes?: boolean;
}

// Those that are known come first and in this order; any other metric gets a chart of its own.
const plans: ChartPlan[] = [
  { id: "loss", title: "Loss", names: ["loss", "eval_loss"], smoothable: true },
  { id: "learning_rate", title: "Learning rate", names: ["learning_rate"] },
  { id: "tokens_per_second", title: "Tokens per second", names: ["tokens_per_second"], smoothable: true },
  { id: "grad_norm", title: "Gradient norm", names: ["grad_norm"], smoothable: true },
  { id: "mfu", title: "Model FLOPs utilisation", names: ["mfu"], format: formatPercent, smoothable: true },
  { id: "eval_perplexity", title: "Held-out perplexity", names: ["eval_perplexity"] },
  { id: "peak_memory_bytes", title: "Peak memory", names: ["peak_memory_bytes"], format: formatBytes, bytes: true },
];
// Running totals, which are an axis and no curve; and what is told as a figure.
const notDrawn = new Set(["tokens", "trained_tokens", "epoch", "ranks"]);

export function RunCharts({ run, metrics }: { run: Run; metrics: RunMetrics }) {
  const [x, setX] = useUrlState("x", "step");
  const axis = (["step", "tokens", "time"].includes(x) ? x : "step") as XAxis;
  const { by } = metrics;
  // Tasks that measure once, as evaluations do, have results and no curves.
  const lines = useMemo(() => {
    const training = new Set(run.tasks.filter((task) => task.kind === "train").map((task) => task.name));
    return metrics.lines.filter((line) => training.has(line.task) || line.points.length > 1);
  }, [metrics.lines, run.tasks]);
  const charts = useMemo(() => {
    const known = new Set(plans.flatMap((plan) => plan.names));
    const others = [...new Set(lines.map((line) => line.name))].filter((name) => !known.has(name) && !notDrawn.has(name));
    const all = [...plans, ...others.map((name): ChartPlan => ({ id: name, title: resultName(name), names: [name] }))];
    return all.map((plan) => {
      const own = plan.names.flatMap((name) => lines.filter((line) => line.name === name));
      const tasks = new Set(own.map((line) => line.task)).size;
      const drawn = own.map((line): ChartLine => ({
        name: tasks > 1 ? `${line.task} ${line.name}` : line.name,
        points: by(line, axis),
      }));
      return { plan, drawn };
    });
  }, [lines, by, axis]);

  if (metrics.error) return <ProblemBox problem={toProblem(metrics.error)} retry={metrics.reload} />;
  if (metrics.loading) return <Skeleton />;
  const training = run.tasks.find((task) => task.kind === "train");
  const waits = training && [TaskState.PENDING, TaskState.QUEUED, TaskState.RUNNING].includes(training.state);
  const shown = charts.filter(({ plan, drawn }) => drawn.length > 0 || (waits && ["loss", "learning_rate"].includes(plan.id)));
  return (
    <div className="stack">
      <div className="row">
        <span className="muted">By</span>
        <Segmented
          size="small"
          aria-label="Horizontal axis"
          value={axis}
          onChange={setX}
          options={[
            { value: "step", label: "Step" },
            { value: "tokens", label: "Tokens" },
            { value: "time", label: "Time" },
          ]}
        />
        <span className="muted small">Drag to zoom, double-click for the whole range.</span>
      </div>
      {shown.length === 0 && <Empty title="No metrics">This run's tasks have reported none.</Empty>}
      <div className="columns">
        {shown.map(({ plan, drawn }) => (
          <Chart
            key={plan.id}
            id={plan.id}
            title={plan.title}
            lines={drawn}
            xName={axis === "step" ? "Step" : axis === "tokens" ? "Tokens" : "Time"}
            xKind={axis === "time" ? "time" : "value"}
            format={plan.format ?? formatNumber}
            smoothable={plan.smoothable ?? false}
            group={`metrics-${axis}`}
            {...(plan.bytes ? { ticks: byteTicks, fromZero: true } : {})}
            waiting="Waits for the training to begin"
          />
        ))}
      </div>
    </div>
  );
}
