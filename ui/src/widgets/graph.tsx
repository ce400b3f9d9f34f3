// Draws a directed graph left to right: tasks of a run, lineage of a model. Nodes are real links or buttons.
import { type ReactNode } from "react";
import { Link } from "react-router-dom";
import { type GraphEdge, layOut } from "@/base/graph_layout";

export interface GraphNode {
  id: string;
  content: ReactNode;
  /** For screen readers and hover. */
  label: string;
  to?: string;
  onClick?: () => void;
  selected?: boolean;
  /** 0 to 1: a bar along the lower edge. */
  progress?: number;
}

interface GraphProps {
  label: string;
  nodes: GraphNode[];
  edges: (GraphEdge & { label?: string })[];
  nodeWidth?: number;
  nodeHeight?: number;
}

const gapX = 36;
const gapY = 16;

export function Graph({ label, nodes, edges, nodeWidth = 162, nodeHeight = 68 }: GraphProps) {
  const placed = layOut(
    nodes.map((node) => node.id),
    edges,
  );
  const rows = Math.max(1, ...placed.map((one) => one.row + 1));
  const inLayer = new Map<number, number>();
  for (const one of placed) inLayer.set(one.layer, (inLayer.get(one.layer) ?? 0) + 1);
  // Edges over several columns go along the top, above what stands between.
  const layerOf = new Map(placed.map((one) => [one.id, one.layer]));
  const isLong = (edge: GraphEdge) => (layerOf.get(edge.to) ?? 0) - (layerOf.get(edge.from) ?? 0) > 1;
  const lane = edges.some(isLong) ? 20 : 0;
  const position = new Map(
    placed.map((one) => {
      // Short columns stand in the middle of tall ones.
      const shift = (rows - (inLayer.get(one.layer) ?? 1)) / 2;
      return [one.id, { x: one.layer * (nodeWidth + gapX), y: lane + (one.row + shift) * (nodeHeight + gapY) }];
    }),
  );
  const width = Math.max(0, ...[...position.values()].map(({ x }) => x + nodeWidth));
  const height = lane + rows * nodeHeight + (rows - 1) * gapY;

  return (
    <div className="graph" role="group" aria-label={label}>
      <div className="canvas" style={{ width, height, margin: "4px" }}>
        <svg width={width} height={height} aria-hidden="true">
          {edges.map((edge) => {
            const from = position.get(edge.from);
            const to = position.get(edge.to);
            if (!from || !to) return null;
            const [x1, y1, x2, y2] = [from.x + nodeWidth, from.y + nodeHeight / 2, to.x, to.y + nodeHeight / 2];
            const bend = Math.max(gapX / 2, (x2 - x1) / 2);
            const half = gapX / 2;
            const path = isLong(edge)
              ? `M${x1},${y1} C${x1 + half},${y1} ${x1},4 ${x1 + gapX},4 H${x2 - gapX} C${x2},4 ${x2 - half},${y2} ${x2 - 5},${y2}`
              : `M${x1},${y1} C${x1 + bend},${y1} ${x2 - bend},${y2} ${x2 - 5},${y2}`;
            return (
              <g key={`${edge.from}>${edge.to}`}>
                <path d={path} fill="none" stroke="var(--muted)" />
                <path d={`M${x2},${y2} l-6,-4 v8 z`} fill="var(--muted)" />
              </g>
            );
          })}
        </svg>
        {nodes.map((node) => {
          const at = position.get(node.id);
          if (!at) return null;
          const shared = {
            className: node.selected ? "graph-node selected" : "graph-node",
            style: { left: at.x, top: at.y, width: nodeWidth, height: nodeHeight },
            title: node.label,
          };
          const inner = (
            <>
              {node.content}
              {node.progress !== undefined && (
                <span className="bar" style={{ width: `${Math.min(1, Math.max(0, node.progress)) * 100}%` }} />
              )}
            </>
          );
          if (node.to)
            return (
              <Link key={node.id} to={node.to} {...shared}>
                {inner}
              </Link>
            );
          if (node.onClick)
            return (
              <button key={node.id} type="button" aria-pressed={Boolean(node.selected)} onClick={node.onClick} {...shared}>
                {inner}
              </button>
            );
          return (
            <div key={node.id} {...shared}>
              {inner}
            </div>
          );
        })}
      </div>
    </div>
  );
}
