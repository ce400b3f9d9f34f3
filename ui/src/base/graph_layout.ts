// Places the nodes of a directed graph in layers, left to right. The graph widget draws what comes out.

export interface GraphEdge {
  from: string;
  to: string;
}
export interface Placed {
  id: string;
  /** Column: the longest path from a node without predecessors. */
  layer: number;
  /** Row in its column. */
  row: number;
}

/** Edges of a cycle that point back are ignored for the layers, so that any input ends. */
export function layOut(ids: readonly string[], edges: readonly GraphEdge[]): Placed[] {
  const known = new Set(ids);
  const before = new Map<string, string[]>(ids.map((id) => [id, []]));
  for (const edge of edges) {
    if (known.has(edge.from) && known.has(edge.to) && edge.from !== edge.to) before.get(edge.to)!.push(edge.from);
  }
  const layers = new Map<string, number>();
  const open = new Set<string>();
  const layerOf = (id: string): number => {
    const done = layers.get(id);
    if (done !== undefined) return done;
    if (open.has(id)) return -1;
    open.add(id);
    let layer = 0;
    for (const other of before.get(id)!) layer = Math.max(layer, layerOf(other) + 1);
    open.delete(id);
    layers.set(id, layer);
    return layer;
  };
  const columns: string[][] = [];
  for (const id of ids) (columns[layerOf(id)] ??= []).push(id);

  // Rows: by the mean row of what comes before, which keeps most edges from crossing.
  const rowOf = new Map<string, number>();
  const placed: Placed[] = [];
  for (let layer = 0; layer < columns.length; layer += 1) {
    const column = columns[layer] ?? [];
    const weight = (id: string, index: number) => {
      const rows = before.get(id)!.map((other) => rowOf.get(other) ?? 0);
      return rows.length ? rows.reduce((sum, row) => sum + row, 0) / rows.length : index;
    };
    const order = column.map((id, index) => ({ id, weight: weight(id, index), index }));
    order.sort((a, b) => a.weight - b.weight || a.index - b.index);
    order.forEach(({ id }, row) => {
      rowOf.set(id, row);
      placed.push({ id, layer, row });
    });
  }
  return placed;
}

/** Without the edges that a longer way implies: a to c, when there is a to b to c. Cycles stay as they are. */
export function withoutImplied(edges: readonly GraphEdge[]): GraphEdge[] {
  const after = new Map<string, string[]>();
  for (const { from, to } of edges) after.set(from, [...(after.get(from) ?? []), to]);
  const leadsTo = (start: string, end: string): boolean => {
    const seen = new Set<string>();
    const open = (after.get(start) ?? []).filter((next) => next !== end);
    for (let at = open.pop(); at !== undefined; at = open.pop()) {
      if (at === end) return true;
      if (at === start || seen.has(at)) continue;
      seen.add(at);
      open.push(...(after.get(at) ?? []));
    }
    return false;
  };
  return edges.filter(({ from, to }) => !leadsTo(from, to));
}
