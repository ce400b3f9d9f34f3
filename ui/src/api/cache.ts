// Keys of the query cache, and how a change from the watch stream is written into it.
import { create } from "@bufbuild/protobuf";
import { type InfiniteData, type QueryClient } from "@tanstack/react-query";
import { type Change } from "@/api/watch";
import { type NodeSample } from "@/gen/slipway/v1/node_pb";
import { type Progress, type Run, RunSchema } from "@/gen/slipway/v1/run_pb";

export const keys = {
  setup: ["setup"] as const,
  user: ["user"] as const,
  apiTokens: ["api-tokens"] as const,
  workflows: ["workflows"] as const,
  plan: (workflow: string, texts: Record<string, string>, name: string) => ["plan", workflow, texts, name] as const,
  list: (kind: ListKind, filter: string) => [kind, "list", filter] as const,
  one: (kind: ListKind, id: string) => [kind, "one", id] as const,
  versions: (kind: ListKind, id: string) => [kind, "versions", id] as const,
  version: (kind: ListKind, id: string) => [kind, "version", id] as const,
  lineage: (id: string) => ["lineage", id] as const,
  preview: (request: unknown) => ["preview", request] as const,
  deploymentKeys: (id: string) => ["deployment-keys", id] as const,
  samples: (nodeId: string) => ["samples", nodeId] as const,
  metrics: (runId: string) => ["metrics", runId] as const,
  events: (runId: string) => ["events", runId] as const,
  spec: (runId: string, task: string, attempts: number) => ["spec", runId, task, attempts] as const,
};
export type ListKind = "run" | "model" | "dataset" | "deployment" | "node";

/** One page of any list, made alike so that one function can update them all. */
export interface ListPage<T> {
  items: T[];
  total: number;
  nextPageToken: string;
}

/** Samples kept in the page: ten minutes and a bit, at one every two seconds. */
export const samplesKept = 330;

export function applyChange(cache: QueryClient, change: Change): void {
  switch (change.case) {
    case "run":
      writeOne(cache, "run", change.value);
      break;
    case "deployment":
      writeOne(cache, "deployment", change.value);
      break;
    case "node":
      writeOne(cache, "node", change.value);
      break;
    case "progress": {
      const { runId, task, progress } = change.value;
      const patch = (run: Run) => (run.id === runId ? withProgress(run, task, progress) : run);
      cache.setQueryData<Run>(keys.one("run", runId), (run) => run && patch(run));
      patchLists<Run>(cache, "run", patch);
      break;
    }
    case "sample": {
      const { nodeId, sample } = change.value;
      if (!sample) break;
      cache.setQueryData<NodeSample[]>(keys.samples(nodeId), (old) => old && [...old, sample].slice(-samplesKept));
      break;
    }
    case "list":
      void cache.invalidateQueries({ queryKey: [change.value.kind] });
      void cache.invalidateQueries({ queryKey: ["lineage"] });
      break;
    default:
      break; // metrics, events and log lines are the run page's own
  }
}

function writeOne<T extends { id: string }>(cache: QueryClient, kind: ListKind, value: T): void {
  cache.setQueryData<T>(keys.one(kind, value.id), (old) => (old === undefined ? undefined : value));
  const found = patchLists<T>(cache, kind, (old) => (old.id === value.id ? value : old));
  if (!found) void cache.invalidateQueries({ queryKey: [kind, "list"] });
}

/** True when some list changed by it. */
function patchLists<T>(cache: QueryClient, kind: ListKind, patch: (old: T) => T): boolean {
  let changed = false;
  cache.setQueriesData<InfiniteData<ListPage<T>>>({ queryKey: [kind, "list"] }, (data) => {
    if (!data) return data;
    let own = false;
    const pages = data.pages.map((page) => {
      const items = page.items.map((old) => {
        const next = patch(old);
        if (next !== old) own = true;
        return next;
      });
      return own ? { ...page, items } : page;
    });
    changed ||= own;
    return own ? { ...data, pages } : data;
  });
  return changed;
}

function withProgress(run: Run, taskName: string, progress: Progress | undefined): Run {
  const tasks = run.tasks.map((task) => (task.name === taskName ? { ...task, progress } : task));
  return create(RunSchema, { ...run, tasks });
}
