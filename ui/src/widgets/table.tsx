// The one table: filter, sort, choice of columns, selection, virtual rows, more pages as one scrolls.
// Filter, sort and columns live in the address.
import { CaretDownOutlined, CaretUpOutlined, SettingOutlined } from "@ant-design/icons";
import { useVirtualizer } from "@tanstack/react-virtual";
import { Button, Checkbox, Dropdown, Input } from "antd";
import { memo, type ReactNode, useEffect, useLayoutEffect, useMemo, useRef, useState } from "react";
import { useNavigate } from "react-router-dom";
import { formatCount } from "@/base/format";
import { type SortKey, sortRows } from "@/base/order";
import { type Problem } from "@/base/problem";
import { ProblemBox, Skeleton } from "@/widgets/feedback";
import { useUrlState } from "@/widgets/url_state";

export interface Column<T> {
  key: string;
  title: string;
  render: (row: T) => ReactNode;
  /** Makes the column sortable. */
  sort?: (row: T) => SortKey;
  /** CSS grid width: "120px", "minmax(160px, 2fr)". */
  width?: string;
  align?: "right";
  /** Shown only when chosen. */
  extra?: boolean;
}

interface TableProps<T> {
  label: string;
  rows: T[];
  columns: Column<T>[];
  rowKey: (row: T) => string;
  /** Where a click on a row goes. */
  rowLink?: (row: T) => string;
  empty: ReactNode;
  loading?: boolean;
  problem?: Problem | null;
  retry?: () => void;
  /** In all, on the server. */
  total?: number;
  hasMore?: boolean;
  loadMore?: () => void;
  /** What the filter input holds; the page sends it to the server. */
  filter?: { shown: string; settled: string; set: (value: string) => void; hint: string };
  /** Further controls of the bar. */
  bar?: ReactNode;
  /** Actions on the rows that are selected; given, rows can be selected. */
  selection?: (selected: T[], clear: () => void) => ReactNode;
  /** Told which row the pointer or the focus is on; null when on none. */
  pointAt?: (row: T | null) => void;
  /** Without bar: a short list inside a section. */
  plain?: boolean;
}

const rowHeight = 36;

export function Table<T>(props: TableProps<T>) {
  const { label, rows, columns, rowKey, rowLink, selection, plain = false } = props;
  const navigate = useNavigate();
  const [sort, setSort] = useUrlState("sort");
  const [columnText, setColumnText] = useUrlState("columns");
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set());

  const shownKeys = useMemo(
    () =>
      new Set(
        columnText && !plain ? columnText.split(".") : columns.filter((one) => !one.extra).map((one) => one.key),
      ),
    [columnText, columns, plain],
  );
  const shown = useMemo(() => columns.filter((column) => shownKeys.has(column.key)), [columns, shownKeys]);
  const [sortKey = "", sortOrder = "asc"] = plain ? [] : sort.split(".");
  const sortColumn = columns.find((column) => column.key === sortKey);

  const sorted = useMemo(() => {
    const keyOf = sortColumn?.sort;
    return keyOf ? sortRows(rows, keyOf, sortOrder === "desc") : rows;
  }, [rows, sortColumn, sortOrder]);

  const scroll = useRef<HTMLDivElement>(null);
  const virtual = useVirtualizer({
    count: sorted.length,
    getScrollElement: () => scroll.current,
    estimateSize: () => rowHeight,
    overscan: 6,
  });
  const items = virtual.getVirtualItems();
  const last = items[items.length - 1]?.index ?? 0;
  const { hasMore = false, loadMore } = props;
  // A sort is one of the whole list: then all pages are read.
  useEffect(() => {
    if (hasMore && (last >= sorted.length - 20 || sortColumn)) loadMore?.();
  }, [hasMore, loadMore, last, sorted.length, sortColumn]);

  const template = [
    ...(selection ? ["36px"] : []),
    ...shown.map((column) => column.width ?? "minmax(120px, 1fr)"),
  ].join(" ");
  const selected = sorted.filter((row) => chosen.has(rowKey(row)));
  const clear = () => setChosen(new Set());
  const toggle = (key: string) => {
    const next = new Set(chosen);
    if (!next.delete(key)) next.add(key);
    setChosen(next);
  };
  // Rows that show the same are not drawn again: what they call is looked up when they call it.
  const acts: RowActs<T> = { open: rowLink && ((row) => navigate(rowLink(row))), point: props.pointAt, toggle };
  const latest = useRef(acts);
  useLayoutEffect(() => {
    latest.current = acts;
  });

  if (props.problem) return <ProblemBox problem={props.problem} {...(props.retry ? { retry: props.retry } : {})} />;
  const filtered = Boolean(props.filter?.settled);
  const nothing = !props.loading && rows.length === 0;
  if (nothing && !filtered) return <>{props.empty}</>;

  return (
    <div>
      {!plain && (
        <div className="table-bar">
          {props.filter && (
            <Input
              allowClear
              value={props.filter.shown}
              onChange={(event) => props.filter?.set(event.target.value)}
              placeholder={props.filter.hint}
              aria-label={`Filter ${label}`}
              style={{ width: 280 }}
              data-shortcut="filter"
            />
          )}
          {props.bar}
          <span className="muted small grow" role="status">
            {selected.length > 0
              ? `${formatCount(selected.length)} selected`
              : `${formatCount(Math.max(props.total ?? 0, rows.length))} in all`}
          </span>
          {selected.length > 0 && selection?.(selected, clear)}
          <ColumnChooser columns={columns} shown={shownKeys} choose={setColumnText} />
        </div>
      )}
      {props.loading ? (
        <Skeleton />
      ) : nothing ? (
        <div className="empty">Nothing matches the filter.</div>
      ) : (
        <div className="table-scroll" ref={scroll}>
          <div className="table-grid" role="table" aria-label={label} aria-rowcount={sorted.length + 1}>
            <div className="table-head" role="row" aria-rowindex={1} style={{ gridTemplateColumns: template }}>
              {selection && (
                <div className="table-cell check" role="columnheader">
                  <Checkbox
                    aria-label="Select all"
                    checked={selected.length > 0 && selected.length === sorted.length}
                    indeterminate={selected.length > 0 && selected.length < sorted.length}
                    onChange={(event) => setChosen(new Set(event.target.checked ? sorted.map(rowKey) : []))}
                  />
                </div>
              )}
              {shown.map((column) => {
                const own = column.key === sortKey;
                const order = own ? (sortOrder === "desc" ? "descending" : "ascending") : "none";
                return (
                  <div
                    key={column.key}
                    className={column.align === "right" ? "table-cell right" : "table-cell"}
                    role="columnheader"
                    {...(column.sort ? { "aria-sort": order } : {})}
                  >
                    {column.sort && !plain ? (
                      <button
                        type="button"
                        onClick={() =>
                          setSort(!own ? `${column.key}.asc` : sortOrder === "asc" ? `${column.key}.desc` : "")
                        }
                      >
                        {column.title}
                        {own && (sortOrder === "desc" ? <CaretDownOutlined /> : <CaretUpOutlined />)}
                      </button>
                    ) : (
                      column.title
                    )}
                  </div>
                );
              })}
            </div>
            <div style={{ position: "relative", height: virtual.getTotalSize() }} role="rowgroup">
              {items.map((item) => {
                const row = sorted[item.index];
                if (row === undefined) return null;
                const key = rowKey(row);
                return (
                  <TableRow
                    key={key}
                    row={row}
                    name={key}
                    index={item.index}
                    top={item.start}
                    template={template}
                    columns={shown}
                    clickable={rowLink !== undefined}
                    pointable={props.pointAt !== undefined}
                    chosen={selection ? chosen.has(key) : undefined}
                    acts={latest}
                  />
                );
              })}
            </div>
          </div>
        </div>
      )}
    </div>
  );
}

interface RowActs<T> {
  open: ((row: T) => void) | undefined;
  point: ((row: T | null) => void) | undefined;
  toggle: (key: string) => void;
}

interface TableRowProps<T> {
  row: T;
  /** Its key. */
  name: string;
  /** In the sorted list, from 0. */
  index: number;
  /** Pixels from the first row's top. */
  top: number;
  template: string;
  columns: Column<T>[];
  clickable: boolean;
  pointable: boolean;
  /** Undefined where rows cannot be selected. */
  chosen: boolean | undefined;
  acts: { readonly current: RowActs<T> };
}

function OneRow<T>({ row, name, index, top, template, columns, clickable, pointable, chosen, acts }: TableRowProps<T>) {
  const point = () => acts.current.point?.(row);
  const leave = () => acts.current.point?.(null);
  return (
    <div
      role="row"
      aria-rowindex={index + 2}
      className={`table-row${clickable ? " clickable" : ""}${chosen ? " selected" : ""}`}
      style={{ transform: `translateY(${top}px)`, gridTemplateColumns: template }}
      {...(pointable ? { onMouseEnter: point, onMouseLeave: leave, onFocus: point, onBlur: leave } : {})}
      onClick={(event) => {
        const target = event.target as HTMLElement;
        if (target.closest("a,button,label,input") || window.getSelection()?.toString()) return;
        acts.current.open?.(row);
      }}
    >
      {chosen !== undefined && (
        <div className="table-cell check" role="cell">
          <Checkbox aria-label={`Select row ${index + 1}`} checked={chosen} onChange={() => acts.current.toggle(name)} />
        </div>
      )}
      {columns.map((column) => {
        const content = column.render(row);
        return (
          <div
            key={column.key}
            className={column.align === "right" ? "table-cell right" : "table-cell"}
            role="cell"
            title={typeof content === "string" ? content : undefined}
          >
            {content}
          </div>
        );
      })}
    </div>
  );
}

const TableRow = memo(OneRow) as typeof OneRow;

interface ColumnChooserProps<T> {
  columns: Column<T>[];
  shown: ReadonlySet<string>;
  choose: (text: string) => void;
}

function ColumnChooser<T>({ columns, shown, choose }: ColumnChooserProps<T>) {
  const usual = columns.filter((one) => !one.extra).map((one) => one.key);
  const set = (key: string, on: boolean) => {
    const keys = columns.map((one) => one.key).filter((one) => (one === key ? on : shown.has(one)));
    if (keys.length > 0) choose(keys.join(".") === usual.join(".") ? "" : keys.join("."));
  };
  return (
    <Dropdown
      trigger={["click"]}
      popupRender={() => (
        <div className="section" style={{ padding: 12 }}>
          <div className="stack tight">
            {columns.map((column) => (
              <Checkbox
                key={column.key}
                checked={shown.has(column.key)}
                onChange={(event) => set(column.key, event.target.checked)}
              >
                {column.title}
              </Checkbox>
            ))}
          </div>
        </div>
      )}
    >
      <Button icon={<SettingOutlined />} aria-label="Choose columns" title="Choose columns" />
    </Dropdown>
  );
}
