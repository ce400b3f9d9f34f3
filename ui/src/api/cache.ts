// Keys of the query cache, and how a change from the watch stream is written into it.
import { create } from "@bufbuild/protobuf";
import { type InfiniteData, type Query, type QueryClient } from "@tanstack/react-query";
import { type Change } from "@/api/watch";
import { type DeploymentSample } from "@/gen/slipway/v1/deployment_pb";
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
  estimate: (workflow: string, texts: Record<string, string>) => ["estimate", workflow, texts] as const,
  lineage: (id: string) => ["lineage", id] as const,
  preview: (request: unknown) => ["preview", request] as const,
  deploymentKeys: (id: string) => ["deployment-keys", id] as const,
  samples: (nodeId: string) => ["samples", nodeId] as const,
  deploymentSamples: (id: string) => ["deployment-samples", id] as const,
  compare: (runIds: readonly string[], name: string) => ["compare", name, runIds] as const,
  metrics: (runId: string) => ["metrics", runId] as const,
  events: (runId: string) => ["events", runId] as const,
  warnings: (runId: string) => ["warnings", runId] as const,
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

/** What the server gives at once, and two hours of live ones. */
export const deploymentSamplesKept = 5600;

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
    case "deploymentSample": {
      const { deploymentId, sample } = change.value;
      if (!sample) break;
      cache.setQueryData<DeploymentSample[]>(keys.deploymentSamples(deploymentId), (old) => old && [...old, sample].slice(-deploymentSamplesKept));
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

function writeOne<K extends { id: string; state: number }>(cache: QueryClient, kind: ListKind, value: K): void {
  const key = keys.one(kind, value.id);
  cache.setQueryData<K>(key, (old) => (old === undefined ? undefined : value));
  // What is being read may have been answered before this change: it is given up for what the stream says.
  if (cache.getQueryState(key)?.fetchStatus === "fetching") {
    void cache.cancelQueries({ queryKey: key, exact: true }).then(() => cache.setQueryData<K>(key, value));
  }
  let former: number | undefined;
  patchLists<K>(cache, kind, (old) => {
    if (old.id !== value.id) return old;
    former = old.state;
    return value;
  });
  // New in the list, or a state that lists filter by: which lists hold it is the server's to say.
  if (former === undefined) void cache.invalidateQueries({ queryKey: [kind, "list"] });
  else if (former !== value.state) {
    void cache.invalidateQueries({ predicate: ({ queryKey: [one, list, filter] }) => one === kind && list === "list" && filter !== "" });
  }
}

/** Reads again what the stream keeps true; also what is just being read for the first time, and may be too old. */
export async function readAgain(cache: QueryClient): Promise<void> {
  const live = ({ meta }: Query) => meta?.["live"] !== false;
  await cache.cancelQueries({ predicate: (query) => live(query) && query.state.data === undefined });
  await cache.invalidateQueries({ predicate: live });
}

function patchLists<T>(cache: QueryClient, kind: ListKind, patch: (old: T) => T): void {
  cache.setQueriesData<InfiniteData<ListPage<T>>>({ queryKey: [kind, "list"] }, (data) => {
    if (!data) return data;
    let changed = false;
    const pages = data.pages.map((page) => {
      const items = page.items.map(patch);
      if (items.every((item, index) => item === page.items[index])) return page;
      changed = true;
      return { ...page, items };
    });
    return changed ? { ...data, pages } : data;
  });
}

function withProgress(run: Run, taskName: string, progress: Progress | undefined): Run {
  const tasks = run.tasks.map((task) => (task.name === taskName ? { ...task, progress } : task));
  return create(RunSchema, { ...run, tasks });
}
