// Live charts of a node: processor, memory, disk, and each GPU. The page's watch scope must ask for samples.
import { useMemo } from "react";
import { toProblem } from "@/api/problems";
import { useSamples } from "@/api/queries";
import { formatBytes, formatNumber, formatPercent, toMillis } from "@/base/format";
import { type Point } from "@/base/series";
import { type GpuSample, type NodeSample } from "@/gen/slipway/v1/node_pb";
import { byteTicks, Chart, type ChartLine } from "@/widgets/chart";
import { ProblemBox } from "@/widgets/feedback";

const quarters = () => 0.25;
const perSecond = (value: number) => `${formatBytes(value)}/s`;
// Samples come every two seconds; after a longer silence the line breaks.
const gapMs = 10_000;

export function NodeCharts({ nodeId }: { nodeId: string }) {
  const samples = useSamples(nodeId);
  const data = samples.data;
  const charts = useMemo(() => {
    const all = data ?? [];
    const line = (name: string, value: (sample: NodeSample) => number): ChartLine => {
      const points: Point[] = [];
      let before = 0;
      for (const sample of all) {
        if (!sample.time) continue;
        const x = toMillis(sample.time);
        if (before && x - before > gapMs) points.push([before + 1, Number.NaN]);
        points.push([x, value(sample)]);
        before = x;
      }
      return { name, points };
    };
    const gpus = [...new Set(all.flatMap((sample) => sample.gpus.map((gpu) => gpu.deviceId)))].sort();
    const perGpu = (value: (gpu: GpuSample) => number) =>
      gpus.map((id) =>
        line(id, (sample) => {
          const gpu = sample.gpus.find((one) => one.deviceId === id);
          return gpu ? value(gpu) : Number.NaN;
        }),
      );
    const last = all[all.length - 1];
    const gpuMemory = Math.max(0, ...(last?.gpus.map((gpu) => Number(gpu.memoryTotalBytes)) ?? []));
    return [
      { id: "cpu", title: "Processor", lines: [line("used", (one) => one.cpuUtilization)], format: formatPercent, most: 1, ticks: quarters },
      {
        id: "memory",
        title: "Memory",
        lines: [line("used", (one) => Number(one.memoryUsedBytes))],
        format: formatBytes,
        ticks: byteTicks,
        most: last ? Number(last.memoryTotalBytes) : undefined,
      },
      {
        id: "disk",
        title: "Disk",
        lines: [line("read", (one) => one.diskReadBytesPerSecond), line("write", (one) => one.diskWriteBytesPerSecond)],
        format: perSecond,
        ticks: byteTicks,
        most: undefined,
      },
      ...(gpus.length > 0
        ? [
            { id: "gpu", title: "GPU use", lines: perGpu((gpu) => gpu.utilization), format: formatPercent, most: 1, ticks: quarters },
            {
              id: "gpu-memory",
              title: "GPU memory",
              lines: perGpu((gpu) => Number(gpu.memoryUsedBytes)),
              format: formatBytes,
        ticks: byteTicks,
              most: gpuMemory || undefined,
            },
            { id: "gpu-power", title: "GPU power", lines: perGpu((gpu) => gpu.powerWatts), format: (v: number) => `${formatNumber(v, 3)} W`, most: undefined },
            {
              id: "gpu-heat",
              title: "GPU temperature",
              lines: perGpu((gpu) => gpu.temperatureCelsius),
              format: (v: number) => `${formatNumber(v, 3)} °C`,
              most: undefined,
            },
          ]
        : []),
    ];
  }, [data]);

  if (samples.error) return <ProblemBox problem={toProblem(samples.error)} retry={() => void samples.refetch()} />;
  return (
      <div className="columns">
        {charts.map((chart) => (
          <Chart
            key={chart.id}
            id={chart.id}
            title={chart.title}
            lines={chart.lines}
            xName="Time"
            xKind="time"
            format={chart.format}
            group="node"
            fromZero
            height={150}
            waiting={samples.isPending ? "Loading" : "No samples of the last ten minutes"}
            {...("ticks" in chart ? { ticks: chart.ticks } : {})}
            {...(chart.most !== undefined ? { most: chart.most } : {})}
          />
        ))}
      </div>
  );
}
