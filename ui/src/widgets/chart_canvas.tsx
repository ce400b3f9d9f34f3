// The drawn part of a chart, with ECharts. Loaded by chart.tsx when a chart is first seen.
import { LineChart } from "echarts/charts";
import { AxisPointerComponent, GridComponent, TooltipComponent } from "echarts/components";
import * as echarts from "echarts/core";
import { CanvasRenderer } from "echarts/renderers";
import { useEffect, useLayoutEffect, useRef, useState } from "react";
import { type Point } from "@/base/series";

echarts.use([LineChart, GridComponent, TooltipComponent, AxisPointerComponent, CanvasRenderer]);

interface CanvasLine {
  name: string;
  raw: readonly Point[];
  shown: readonly Point[];
}
interface CanvasProps {
  lines: CanvasLine[];
  smoothed: boolean;
  focused: string | null;
  xName: string;
  xKind: "value" | "time";
  writeX: (x: number) => string;
  format: (value: number) => string;
  logarithmic: boolean;
  fromZero: boolean;
  most: number | undefined;
  interval: number | undefined;
  zoom: [number, number] | null;
  onZoom: (range: [number, number] | null) => void;
  group: string;
  palette: { text: string; muted: string; line: string; surface: string; series: readonly string[] };
  height: number;
  onReady: (png: (() => string) | null) => void;
}

/** A point between two gaps would draw nothing: it gets a dot. */
function withLonePoints(points: readonly Point[]) {
  const there = (index: number) => Number.isFinite(points[index]?.[1]);
  return points.map((point, index) =>
    there(index) && !there(index - 1) && !there(index + 1) ? { value: point, symbol: "circle", symbolSize: 5 } : point,
  );
}

const colorOf = (index: number, palette: CanvasProps["palette"]) => palette.series[index % palette.series.length] ?? palette.muted;

/** Colours are for as many lines as there are; further ones are grey until they are pointed at. */
function lookOf(name: string, index: number, focused: string | null, many: boolean, palette: CanvasProps["palette"]) {
  const grey = index >= palette.series.length;
  const color = grey ? palette.muted : colorOf(index, palette);
  if (many) return { color, width: grey ? 1 : 1.5, opacity: grey ? 0.35 : 0.8, z: grey ? 2 : 3 };
  return { color, width: 1.75, opacity: focused !== null && focused !== name ? 0.25 : 1, z: 3 };
}

/** An SVG path through the points that lie within the chart's range; gaps stay gaps. */
function pathOf(chart: echarts.ECharts, points: readonly Point[], [from, to]: readonly [number, number], logarithmic: boolean): string {
  let path = "";
  let open = false;
  for (const [x, y] of points) {
    const there = Number.isFinite(y) && x >= from && x <= to && !(logarithmic && y <= 0);
    if (there) {
      const [left = 0, top = 0] = chart.convertToPixel({ gridIndex: 0 }, [x, y]) as number[];
      path += `${open ? "L" : "M"}${left.toFixed(1)} ${top.toFixed(1)}`;
    }
    open = there;
  }
  return path;
}

const mostRows = 12;

const escapeHtml = (text: string) => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);

type Range = { min: number; max: number };
/** An axis of what hardly changes would have ticks that are written the same: its ends are whole steps of the third digit. Else null. */
function endOfFlat({ min, max }: Range, end: "min" | "max"): number | null {
  const size = Math.max(Math.abs(min), Math.abs(max));
  if (max <= min || max - min > 0.002 * size) return null;
  const step = 10 ** Math.floor(Math.log10(size)) / 100;
  return end === "min" ? (Math.floor(min / step) - 1) * step : (Math.ceil(max / step) + 1) * step;
}

export default function ChartCanvas(props: CanvasProps) {
  const { lines, palette, zoom, group, height } = props;
  const box = useRef<HTMLDivElement>(null);
  const chart = useRef<echarts.ECharts | null>(null);
  const latest = useRef(props);
  latest.current = props;
  const [drag, setDrag] = useState<{ from: number; to: number } | null>(null);

  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const made = echarts.init(element, null, { renderer: "canvas" });
    chart.current = made;
    made.group = group;
    echarts.connect(group);
    latest.current.onReady(() =>
      made.getDataURL({ type: "png", pixelRatio: 2, backgroundColor: latest.current.palette.surface }),
    );
    const resize = new ResizeObserver(() => made.resize());
    resize.observe(element);
    return () => {
      latest.current.onReady(null);
      resize.disconnect();
      made.dispose();
      chart.current = null;
    };
  }, [group]);

  const [from, to] = zoom ?? [undefined, undefined];
  // Axes and looks.
  useEffect(() => {
    const { xKind, logarithmic, fromZero, most, interval, writeX, format, xName } = latest.current;
    chart.current?.setOption({
      animation: false,
      grid: { left: 8, right: 24, top: 12, bottom: 8, containLabel: true },
      xAxis: {
        type: xKind,
        min: from ?? "dataMin",
        max: to ?? "dataMax",
        axisLine: { lineStyle: { color: palette.line } },
        ...(xKind === "value" ? { minInterval: 1 } : {}),
        axisLabel: {
          color: palette.muted,
          hideOverlap: true,
          padding: [0, 6], // one that would touch another is left out, too
          formatter: (value: number) => (xKind === "time" && value % 60_000 === 0 ? writeX(value).slice(0, 5) : writeX(value)),
        },
        splitLine: { show: false },
        splitNumber: xKind === "time" ? 4 : 6,
        axisPointer: { label: { show: false } },
      },
      yAxis: {
        axisLine: { show: false },
        axisTick: { show: false },
        type: logarithmic ? "log" : "value",
        scale: !fromZero,
        min: logarithmic ? null : fromZero ? 0 : (range: Range) => endOfFlat(range, "min"),
        max:
          most ??
          (logarithmic
            ? null
            : interval
              ? ({ max }: Range) => Math.max(1, Math.ceil(max / interval)) * interval
              : (range: Range) => endOfFlat(range, "max")),
        ...(interval && !logarithmic ? { interval } : {}),
        axisLabel: {
          color: palette.muted,
          formatter: (value: number) => format(value),
          // The end of the axis is a tick of its own: not beside another.
          showMaxLabel: !(interval && most) || most % interval === 0,
        },
        splitLine: { lineStyle: { color: palette.line } },
        splitNumber: 4,
      },
      tooltip: {
        trigger: "axis",
        confine: true,
        transitionDuration: 0,
        className: "chart-tip",
        backgroundColor: palette.surface,
        borderColor: palette.line,
        textStyle: { color: palette.text, fontSize: 12 },
        axisPointer: { type: "line", lineStyle: { color: palette.muted } },
        formatter: (parts: { seriesName: string; value: Point; color: string; seriesId: string }[]) => {
          const all = parts.filter((part) => !part.seriesId.startsWith("raw:") && Number.isFinite(part.value?.[1]));
          const first = all[0];
          if (!first) return "";
          // Of many lines the one that is pointed at, and the range of all.
          const few = all.length <= mostRows;
          const own = few ? all : all.filter((part) => part.seriesName === latest.current.focused);
          const values = all.map((part) => part.value[1]);
          const range = few ? "" : `<div>${all.length} lines, ${escapeHtml(format(Math.min(...values)))} to ${escapeHtml(format(Math.max(...values)))}</div>`;
          const rows = own.map(
            (part) =>
              `<div><span style="color:${part.color}">●</span> ${escapeHtml(part.seriesName)} <b>${escapeHtml(format(part.value[1]))}</b></div>`,
          );
          return `<div>${escapeHtml(xName)} ${escapeHtml(writeX(first.value[0]))}</div>${range}${rows.join("")}`;
        },
      },
    });
  }, [palette, from, to, props.logarithmic, props.fromZero, props.most, props.interval, props.xKind, props.xName]);

  // Points. The raw line stays, paler, behind the smoothed one. Many lines are drawn once: the one that is pointed at lies
  // over them, because ECharts would draw hundreds anew for it.
  const many = lines.length > palette.series.length;
  const shownFocus = many ? null : props.focused;
  useEffect(() => {
    const { smoothed, logarithmic, focused } = latest.current;
    const data = (points: readonly Point[]) =>
      withLonePoints(logarithmic ? points.map(([x, y]) => [x, y > 0 ? y : Number.NaN] as const) : points);
    const series = lines.flatMap((line, index) => {
      const { color, width, opacity, z } = lookOf(line.name, index, focused, many, palette);
      const look = { type: "line", name: line.name, symbol: "none", connectNulls: false, emphasis: { disabled: true }, itemStyle: { color } };
      const shown = { ...look, id: `line:${line.name}`, z, data: data(line.shown), lineStyle: { color, width, opacity } };
      if (!smoothed || many) return [shown];
      const raw = { ...look, id: `raw:${line.name}`, z: 2, silent: true, data: data(line.raw), lineStyle: { color, width: 1, opacity: 0.3 * opacity } };
      return [raw, shown];
    });
    chart.current?.setOption({ series }, { replaceMerge: ["series"] });
  }, [lines, palette, props.smoothed, shownFocus, props.logarithmic, many]);

  const [pointed, setPointed] = useState<{ path: string; color: string } | null>(null);
  useLayoutEffect(() => {
    const made = chart.current;
    const index = many && props.focused !== null ? lines.findIndex((line) => line.name === props.focused) : -1;
    if (!made || index < 0) return setPointed(null);
    const draw = () =>
      setPointed({ path: pathOf(made, lines[index]!.shown, [from ?? -Infinity, to ?? Infinity], props.logarithmic), color: colorOf(index, palette) });
    draw();
    made.on("finished", draw); // after a change of size or range
    return () => void made.off("finished", draw);
  }, [many, lines, props.focused, palette, from, to, props.logarithmic]);

  const offset = (event: React.PointerEvent) => event.clientX - (box.current?.getBoundingClientRect().left ?? 0);
  const toX = (pixel: number) => chart.current?.convertFromPixel({ xAxisIndex: 0 }, pixel) as number | undefined;

  return (
    <div
      style={{ height, touchAction: "pan-y", position: "relative" }}
      onPointerDown={(event) => {
        if (event.button !== 0 || event.pointerType === "touch") return;
        setDrag({ from: offset(event), to: offset(event) });
      }}
      onPointerMove={(event) => drag && setDrag({ ...drag, to: offset(event) })}
      onPointerUp={() => {
        if (!drag) return;
        setDrag(null);
        if (Math.abs(drag.to - drag.from) < 6) return;
        const [a, b] = [toX(drag.from), toX(drag.to)];
        if (a !== undefined && b !== undefined && a !== b) props.onZoom([Math.min(a, b), Math.max(a, b)]);
      }}
      onPointerLeave={() => setDrag(null)}
      onDoubleClick={() => props.onZoom(null)}
    >
      <div ref={box} style={{ height }} aria-hidden="true" />
      {pointed && (
        <svg aria-hidden="true" style={{ position: "absolute", inset: 0, width: "100%", height: "100%", pointerEvents: "none" }}>
          <path d={pointed.path} fill="none" stroke={pointed.color} strokeWidth={2.5} strokeLinejoin="round" />
        </svg>
      )}
      {drag && Math.abs(drag.to - drag.from) >= 6 && (
        <div
          className="selection"
          style={{ left: Math.min(drag.from, drag.to), width: Math.abs(drag.to - drag.from) }}
        />
      )}
    </div>
  );
}
