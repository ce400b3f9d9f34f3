// The one chart: curves by step, tokens or time. Smoothing with the raw line behind, linear or log, drag to zoom,
// hover synchronised by group, PNG and CSV, the same numbers as a table. Its settings live in the address.
import { DownloadOutlined, ZoomOutOutlined } from "@ant-design/icons";
import { Button, Dropdown } from "antd";
import { lazy, Suspense, useEffect, useMemo, useRef, useState } from "react";
import { saveText, saveUrl } from "@/base/download";
import { formatClock, formatCount } from "@/base/format";
import { type Point, smooth, thin, toCsv, toRows } from "@/base/series";
import { useTheme } from "@/widgets/theme";
import { useSetUrl, useUrlState } from "@/widgets/url_state";

const ChartCanvas = lazy(() => import("@/widgets/chart_canvas"));

export interface ChartLine {
  name: string;
  points: readonly Point[];
}
export interface ChartProps {
  /** Name of its settings in the address. */
  id: string;
  title: string;
  lines: readonly ChartLine[];
  xName: string;
  xKind: "value" | "time";
  format: (value: number) => string;
  /** Charts of one group zoom and hover together: they must share what x is. */
  group: string;
  smoothable?: boolean;
  /** From 0, as for shares. */
  fromZero?: boolean;
  /** The y axis ends here, as for shares of a whole. */
  most?: number;
  /** Distance of the y axis' ticks for a largest value: where tens are not round, as for bytes. */
  ticks?: (largest: number) => number;
  height?: number;
  /** The line to bring forward, where the page says which; the legend then is the page's too. */
  pointed?: string | null;
  /** Said while there are no points. */
  waiting?: string;
}

const smoothings = [0, 0.6, 0.9, 0.97];
const tableRows = 200;
// Few points are each measured with care, as held-out losses are: they stand as they are.
const fewestToSmooth = 40;

export function Chart(props: ChartProps) {
  const { id, title, lines, xName, xKind, format, group, smoothable = false, height = 200 } = props;
  const { palette } = useTheme();
  const setUrl = useSetUrl();
  const [smoothing, setSmoothing] = useUrlState(`${id}.smooth`, smoothable ? "0.6" : "0");
  const [scale, setScale] = useUrlState(`${id}.scale`, "linear");
  const [zoomText] = useUrlState(`${group}.zoom`);
  const [hovered, setFocused] = useState<string | null>(null);
  const { pointed } = props;
  const focused = pointed === undefined ? hovered : pointed;
  const [asTable, setAsTable] = useState(false);
  const takePng = useRef<(() => string) | null>(null);
  const [seen, setSeen] = useState(false);
  const area = useRef<HTMLDivElement>(null);

  // The chart library loads when the first chart comes into view.
  useEffect(() => {
    const element = area.current;
    if (!element || seen) return;
    const observer = new IntersectionObserver(
      (entries) => {
        if (entries.some((entry) => entry.isIntersecting)) setSeen(true);
      },
      { rootMargin: "200px" },
    );
    observer.observe(element);
    return () => observer.disconnect();
  }, [seen]);

  const weight = Number(smoothing) || 0;
  // The canvas draws its lines anew when they change: not when one of them is pointed at.
  const drawn = useMemo(
    () =>
      lines.map((line) => ({
        name: line.name,
        raw: line.points,
        shown: weight > 0 && line.points.length >= fewestToSmooth ? smooth(line.points, weight) : line.points,
      })),
    [lines, weight],
  );
  const zoom = parseZoom(zoomText);
  const setZoom = (range: [number, number] | null) =>
    setUrl({ [`${group}.zoom`]: range ? range.map((x) => Number(x.toPrecision(8))).join("~") : undefined });
  const hasPoints = lines.some((line) => line.points.length > 0);
  const writeX = (x: number) => (xKind === "time" ? formatClock(x).slice(0, 8) : formatCount(x));
  const fileName = `${id}-${title}`.toLowerCase().replace(/[^a-z0-9]+/g, "-");

  return (
    <figure className="chart" aria-label={`${title} by ${xName.toLowerCase()}`}>
      <figcaption>
        <span className="title">{title}</span>
        <div className="legend">
          {(pointed === undefined ? lines : []).map((line, index) => {
            const color = palette.series[index] ?? palette.muted;
            const last = lastPoint(line.points);
            return (
              <button
                key={line.name}
                type="button"
                onMouseEnter={() => setFocused(line.name)}
                onMouseLeave={() => setFocused(null)}
                onFocus={() => setFocused(line.name)}
                onBlur={() => setFocused(null)}
              >
                <span className="dot" style={{ background: color }} />
                {lines.length > 1 && line.name}
                {last && <span className="now">{format(last[1])}</span>}
              </button>
            );
          })}
        </div>
        {zoom && (
          <Button
            size="small"
            type="text"
            icon={<ZoomOutOutlined />}
            aria-label="Whole range"
            title="Whole range"
            onClick={() => setZoom(null)}
          />
        )}
        {smoothable && (
          <Dropdown
            trigger={["click"]}
            menu={{
              selectable: true,
              selectedKeys: [smoothing],
              items: smoothings.map((value) => ({ key: String(value), label: value ? `Smoothing ${value}` : "No smoothing" })),
              onClick: ({ key }) => setSmoothing(key),
            }}
          >
            <Button size="small" type="text" title="Smoothing: the raw line stays behind">
              ~ {weight || "raw"}
            </Button>
          </Dropdown>
        )}
        <Button
          size="small"
          type="text"
          aria-pressed={scale === "log"}
          title="Linear or logarithmic"
          onClick={() => setScale(scale === "log" ? "linear" : "log")}
        >
          {scale === "log" ? "log" : "lin"}
        </Button>
        <Button size="small" type="text" aria-pressed={asTable} title="The same numbers as a table" onClick={() => setAsTable(!asTable)}>
          {asTable ? "Chart" : "Table"}
        </Button>
        <Dropdown
          trigger={["click"]}
          menu={{
            items: [
              { key: "png", label: "Save as PNG", disabled: !hasPoints || asTable },
              { key: "csv", label: "Save as CSV", disabled: !hasPoints },
            ],
            onClick: ({ key }) => {
              if (key === "csv") saveText(`${fileName}.csv`, toCsv(xName, lines), "text/csv");
              else if (takePng.current) saveUrl(`${fileName}.png`, takePng.current());
            },
          }}
        >
          <Button size="small" type="text" icon={<DownloadOutlined />} aria-label={`Save ${title}`} />
        </Dropdown>
      </figcaption>
      <div className="area" ref={area} style={{ height }}>
        {asTable ? (
          <NumbersTable title={title} xName={xName} lines={lines} writeX={writeX} format={format} height={height} />
        ) : (
          <>
            {seen && (
              <Suspense fallback={<div className="skeleton" style={{ height }} />}>
                <ChartCanvas
                  lines={drawn}
                  smoothed={weight > 0}
                  focused={focused}
                  xName={xName}
                  xKind={xKind}
                  writeX={writeX}
                  format={format}
                  logarithmic={scale === "log"}
                  fromZero={props.fromZero ?? false}
                  most={props.most}
                  interval={props.ticks?.(props.most ?? largest(lines))}
                  zoom={zoom}
                  onZoom={setZoom}
                  group={group}
                  palette={palette}
                  height={height}
                  onReady={(png) => (takePng.current = png)}
                />
              </Suspense>
            )}
            {!hasPoints && <div className="no-points">{props.waiting ?? "No points yet"}</div>}
          </>
        )}
      </div>
    </figure>
  );
}

/** The last that was measured; gaps are none. */
function lastPoint(points: readonly Point[]): Point | undefined {
  for (let index = points.length - 1; index >= 0; index -= 1) if (Number.isFinite(points[index]![1])) return points[index];
  return undefined;
}

function largest(lines: readonly ChartLine[]): number {
  let most = 0;
  for (const line of lines) for (const [, y] of line.points) if (y > most) most = y;
  return most;
}

/** Ticks of bytes: powers of two. */
export const byteTicks = (most: number): number => (most > 0 ? 2 ** Math.floor(Math.log2(most / 2.5)) : 1);

function parseZoom(text: string): [number, number] | null {
  const [from, to] = text.split("~").map(Number);
  return text && from !== undefined && to !== undefined && Number.isFinite(from) && Number.isFinite(to) && from < to
    ? [from, to]
    : null;
}

interface NumbersTableProps {
  title: string;
  xName: string;
  lines: readonly ChartLine[];
  writeX: (x: number) => string;
  format: (value: number) => string;
  height: number;
}

function NumbersTable({ title, xName, lines, writeX, format, height }: NumbersTableProps) {
  const rows = thin(toRows(lines), tableRows);
  return (
    <div className="chart-table" style={{ height }} tabIndex={0}>
      <table>
        <caption className="hidden-visually">{title}</caption>
        <thead>
          <tr>
            <th scope="col">{xName}</th>
            {lines.map((line) => (
              <th key={line.name} scope="col">
                {line.name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={row.x}>
              <th scope="row">{writeX(row.x)}</th>
              {row.values.map((value, index) => (
                <td key={index}>{value === undefined ? "" : format(value)}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
