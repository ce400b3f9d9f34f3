// What a model or dataset version came from, and what came from it, as a graph of links.
import { toProblem } from "@/api/problems";
import { useLineage } from "@/api/queries";
import { ProblemBox, Skeleton } from "@/widgets/feedback";
import { Graph } from "@/widgets/graph";

const pathOf: Record<string, (id: string) => string | undefined> = {
  run: (id) => `/runs/${id}`,
  deployment: (id) => `/deployments/${id}`,
  model: (id) => `/models/version/${id}`,
  adapter: (id) => `/models/version/${id}`,
  dataset: (id) => `/data/version/${id}`,
};

export function LineageView({ id }: { id: string }) {
  const lineage = useLineage(id);
  if (lineage.error) return <ProblemBox problem={toProblem(lineage.error)} retry={() => void lineage.refetch()} />;
  if (!lineage.data) return <Skeleton rows={3} />;
  return (
    <div className="stack">
      <Graph
        label="Lineage"
        nodeWidth={168}
        nodes={lineage.data.nodes.map((node) => {
          const to = pathOf[node.kind]?.(node.id);
          return {
            id: node.id,
            label: `${node.kind} ${node.label}`,
            selected: node.id === id,
            ...(to && node.id !== id ? { to } : {}),
            content: (
              <>
                <div className="muted small">{node.kind}</div>
                <div className="name">{node.label}</div>
              </>
            ),
          };
        })}
        edges={lineage.data.edges.map((edge) => ({ from: edge.fromId, to: edge.toId, label: edge.relation }))}
      />
      {lineage.data.nodes.length <= 1 && <span className="muted">Nothing was made from it yet.</span>}
    </div>
  );
}
