// What a deployment does now and did since its start: figures, and charts that the page's stream goes on.
import { useMemo } from "react";
import { toProblem } from "@/api/problems";
import { useDeploymentSamples } from "@/api/queries";
import { formatBytes, formatCount, formatNumber, formatPercent, toMillis } from "@/base/format";
import { type Point } from "@/base/series";
import { type Deployment, type DeploymentSample, type DeploymentSample_Percentiles, DeploymentState } from "@/gen/slipway/v1/deployment_pb";
import { byteTicks, Chart, type ChartLine } from "@/widgets/chart";
import { ProblemBox } from "@/widgets/feedback";
import { Figure, Section } from "@/widgets/page";

/** Seconds as they are said of tokens: 8.25 ms, 1.2 s. */
const brief = (seconds: number): string =>
  !Number.isFinite(seconds) ? "–" : seconds < 1 ? `${formatNumber(seconds * 1000, 3)} ms` : `${formatNumber(seconds, 3)} s`;
const rate = (value: number) => formatNumber(value, 3);

const wholeTicks = (largest: number) => Math.max(1, Math.ceil(largest / 4));

type Value = (sample: DeploymentSample) => number | undefined;
interface Plan {
  id: string;
  title: string;
  lines: [name: string, value: Value][];
  format: (value: number) => string;
  most?: number;
  bytes?: boolean;
  /** Whole numbers: ticks too. */
  whole?: boolean;
}

const percentiles = (of: (sample: DeploymentSample) => DeploymentSample_Percentiles | undefined): Plan["lines"] => [
  ["p50", (one) => of(one)?.p50],
  ["p95", (one) => of(one)?.p95],
  ["p99", (one) => of(one)?.p99],
];

const plans: Plan[] = [
  { id: "generated", title: "Generated tokens per second", lines: [["tokens", (one) => one.generationTokensPerSecond]], format: rate },
  { id: "prompt", title: "Prompt tokens per second", lines: [["tokens", (one) => one.promptTokensPerSecond]], format: rate },
  { id: "requests", title: "Requests", lines: [["running", (one) => Number(one.running)], ["waiting", (one) => Number(one.waiting)]], format: formatCount, whole: true },
  { id: "first", title: "Time to first token", lines: percentiles((one) => one.timeToFirstToken), format: brief },
  { id: "between", title: "Time between tokens", lines: percentiles((one) => one.interToken), format: brief },
  {
    id: "cache",
    title: "Cache",
    lines: [["KV cache in use", (one) => one.kvCacheUsage], ["prompt found in it", (one) => one.prefixCacheHits]],
    format: formatPercent,
    most: 1,
  },
  { id: "memory", title: "Memory of the engine", lines: [["resident", (one) => Number(one.memoryBytes)]], format: formatBytes, bytes: true },
];

/** Points of one line. What was not measured in an interval leaves a gap, and so does a time without samples. */
function pointsOf(samples: readonly DeploymentSample[], value: Value): Point[] {
  const points: Point[] = [];
  let before = 0;
  for (const sample of samples) {
    if (!sample.time) continue;
    const x = toMillis(sample.time);
    // A sample speaks for its interval: a silence much longer than that is one.
    if (before && x - before > Math.max(10_000, 2500 * sample.intervalSeconds)) points.push([before + 1, Number.NaN]);
    points.push([x, value(sample) ?? Number.NaN]);
    before = x;
  }
  return points;
}

const lastOf = (samples: readonly DeploymentSample[], value: Value): number | undefined => {
  for (let index = samples.length - 1; index >= 0; index -= 1) {
    const found = value(samples[index]!);
    if (found !== undefined) return found;
  }
  return undefined;
};

export function DeploymentNow({ deployment }: { deployment: Deployment }) {
  const query = useDeploymentSamples(deployment.id);
  const data = query.data;
  const charts = useMemo(
    () =>
      plans.map((plan) => ({
        plan,
        lines: plan.lines.map(([name, value]): ChartLine => ({ name, points: pointsOf(data ?? [], value) })),
      })),
    [data],
  );
  const samples = data ?? [];
  const now = samples[samples.length - 1];
  const ready = deployment.state === DeploymentState.READY;
  const first = lastOf(samples, (one) => one.timeToFirstToken?.p50);
  const between = lastOf(samples, (one) => one.interToken?.p50);
  return (
    <Section title="Now">
      <div className="stack">
        {query.error && <ProblemBox problem={toProblem(query.error)} retry={() => void query.refetch()} />}
        <div className="figures" role="group" aria-label="Figures">
          <Figure label="generated" value={`${rate(ready ? (now?.generationTokensPerSecond ?? 0) : 0)} tokens/s`} />
          <Figure label="running" value={formatCount(ready ? (now?.running ?? 0n) : 0n)} />
          <Figure label="waiting" value={formatCount(ready ? (now?.waiting ?? 0n) : 0n)} />
          <Figure label="to the first token (p50)" value={first === undefined ? "–" : brief(first)} />
          <Figure label="between tokens (p50)" value={between === undefined ? "–" : brief(between)} />
          <Figure label="of the KV cache" value={formatPercent(ready ? (now?.kvCacheUsage ?? 0) : 0)} />
          <Figure label="memory" value={now ? formatBytes(now.memoryBytes) : "–"} />
        </div>
        <div className="columns">
          {charts.map(({ plan, lines }) => (
            <Chart
              key={plan.id}
              id={plan.id}
              title={plan.title}
              lines={lines}
              xName="Time"
              xKind="time"
              format={plan.format}
              group="serving"
              fromZero
              height={150}
              waiting={query.isPending ? "Loading" : "Nothing measured yet"}
              {...(plan.most !== undefined ? { most: plan.most, ticks: () => 0.25 } : {})}
              {...(plan.bytes ? { ticks: byteTicks } : {})}
              {...(plan.whole ? { ticks: wholeTicks } : {})}
            />
          ))}
        </div>
      </div>
    </Section>
  );
}
