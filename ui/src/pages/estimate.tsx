// What a run's training would take, measured by a short run on a node: asked for on the wizard's review, shown beside
// the consequences, and set against what happened on the run's page.
import { useQuery } from "@tanstack/react-query";
import { Button } from "antd";
import { keys } from "@/api/cache";
import { clients } from "@/api/clients";
import { toProblem } from "@/api/problems";
import { useRun } from "@/api/queries";
import { useWatchScope } from "@/api/watch_context";
import { formatBytes, formatCount, formatDuration, formatNumber } from "@/base/format";
import { type ParameterTexts } from "@/base/parameters";
import { meanRate } from "@/base/series";
import { type Run, RunState } from "@/gen/slipway/v1/run_pb";
import { nowLine } from "@/pages/run_columns";
import { type RunMetrics } from "@/pages/run_metrics";
import { ProblemBox } from "@/widgets/feedback";
import { Facts } from "@/widgets/page";

/** The figures that an estimate gives, in the order in which they are read. */
export const estimateFigures: { name: string; label: string; format: (value: number) => string }[] = [
  { name: "duration_s", label: "Training", format: formatDuration },
  // A step's time is compared: to three digits.
  { name: "seconds_per_step", label: "Time per step", format: (value) => (value < 10 ? `${formatNumber(value, 3)} s` : formatDuration(value)) },
  { name: "peak_memory_bytes", label: "Peak memory", format: formatBytes },
  { name: "available_memory_bytes", label: "Memory of the node", format: formatBytes },
  { name: "total_steps", label: "Steps", format: formatCount },
  { name: "tokens_per_second", label: "Tokens per second", format: (value) => formatNumber(value, 3) },
  { name: "train_tokens", label: "Tokens in an epoch", format: formatCount },
];

interface EstimateProps {
  workflow: string;
  texts: ParameterTexts;
  /** Values that a run could be started with. */
  good: boolean;
}

/** Starts the estimate when asked; the same values give the same one, also after a reload. */
export function Estimate({ workflow, texts, good }: EstimateProps) {
  const asked = useQuery({
    queryKey: keys.estimate(workflow, texts),
    queryFn: () => clients.runs.estimateRun({ workflow, parameters: texts }),
    enabled: good,
    retry: false,
    meta: { live: false },
  });
  if (!good) return <span className="muted small">Measured when all values are good.</span>;
  if (asked.error) return <ProblemBox problem={toProblem(asked.error)} retry={() => void asked.refetch()} />;
  if (!asked.data) return <span className="muted">Asking a node …</span>;
  return <EstimateRun key={asked.data.id} id={asked.data.id} again={() => void asked.refetch()} />;
}

function EstimateRun({ id, again }: { id: string; again: () => void }) {
  useWatchScope({ runId: id });
  const run = useRun(id).data;
  if (!run) return <span className="muted">Asking a node …</span>;
  if (run.state === RunState.FAILED && run.error) {
    return (
      <ProblemBox title="The training cannot be measured" problem={{ ...run.error, field: "", violations: [], transient: false }} retry={again} />
    );
  }
  if (run.state === RunState.SUCCEEDED) return <Predicted results={run.results} />;
  if (run.state === RunState.CANCELLED || run.state === RunState.CANCELLING) {
    return (
      <span className="row">
        <span className="muted">Not measured.</span>
        <Button size="small" onClick={again}>
          Measure
        </Button>
      </span>
    );
  }
  return (
    <div className="stack tight" role="status">
      <span className="muted">Measuring two real steps: {nowLine(run) || "waits for a node"}</span>
      <span>
        <Button size="small" onClick={() => void clients.runs.cancelRun({ id }).catch(() => undefined)}>
          Leave it
        </Button>
      </span>
    </div>
  );
}

function Predicted({ results }: { results: Run["results"] }) {
  const fits = results["fits"] !== 0;
  return (
    <div className="stack tight">
      {!fits && (
        <div className="problem soft">
          <span>
            The training needs more memory than the node has: lower the batch size or the sequence length, or turn on gradient
            checkpointing.
          </span>
        </div>
      )}
      <Facts
        facts={estimateFigures.map(({ name, label, format }) => {
          const value = results[name];
          return value !== undefined && value > 0 ? [label, format(value)] : null;
        })}
      />
    </div>
  );
}

/** Prediction and what happened, of a run whose training is under way or over. */
export function Predictions({ run, metrics }: { run: Run; metrics: RunMetrics }) {
  const { predictions } = run;
  const train = run.tasks.find((task) => task.kind === "train");
  if (Object.keys(predictions).length === 0 || !train) return null;
  const tokensPerSecond = meanRate(metrics.points("tokens_per_second"), metrics.points("tokens"));
  const seconds =
    train.startedAt && train.finishedAt ? Number(train.finishedAt.seconds - train.startedAt.seconds) : undefined;
  const rate = predictions["tokens_per_second"];
  const step = predictions["seconds_per_step"];
  const happened: Record<string, number | undefined> = {
    duration_s: seconds,
    // The same tokens per step at the rate that was reached.
    seconds_per_step: rate && step && tokensPerSecond ? (step * rate) / tokensPerSecond : undefined,
    peak_memory_bytes: metrics.latest("peak_memory_bytes"),
    tokens_per_second: tokensPerSecond,
  };
  return (
    <table className="plain-table small">
      <thead>
        <tr>
          <th scope="col" />
          <th scope="col">Told before</th>
          <th scope="col">Happened</th>
        </tr>
      </thead>
      <tbody>
        {estimateFigures
          .filter(({ name }) => name in happened && predictions[name] !== undefined)
          .map(({ name, label, format }) => {
            const was = predictions[name]!;
            const is = happened[name];
            return (
              <tr key={name}>
                <th scope="row">{label}</th>
                <td>{format(was)}</td>
                <td>
                  {is === undefined ? "–" : format(is)}
                  {is !== undefined && was > 0 && <span className="muted one-line"> ({is >= was ? "+" : "−"}{Math.round(Math.abs(is / was - 1) * 100)} %)</span>}
                </td>
              </tr>
            );
          })}
      </tbody>
    </table>
  );
}
