// Reads of the API as hooks: each is one entry of the cache that the watch stream keeps true.
import { Code, ConnectError } from "@connectrpc/connect";
import { keepPreviousData, QueryClient, useInfiniteQuery, useQueries, useQuery, type UseQueryResult } from "@tanstack/react-query";
import { useMemo } from "react";
import { keys, type ListKind, type ListPage } from "@/api/cache";
import { clients } from "@/api/clients";
import { type Dataset } from "@/gen/slipway/v1/dataset_pb";
import { type Deployment } from "@/gen/slipway/v1/deployment_pb";
import { type Model } from "@/gen/slipway/v1/model_pb";
import { type Node } from "@/gen/slipway/v1/node_pb";
import { type PageInfo } from "@/gen/slipway/v1/page_pb";
import { type Run } from "@/gen/slipway/v1/run_pb";

export function createCache(): QueryClient {
  return new QueryClient({
    defaultOptions: {
      queries: {
        // The watch stream says when something is no longer true.
        staleTime: Infinity,
        refetchOnWindowFocus: false,
        retry: (count, error) => count < 4 && ConnectError.from(error).code === Code.Unavailable,
        retryDelay: (count) => Math.min(500 * 2 ** count, 5000),
      },
      mutations: { retry: false },
    },
  });
}

interface Items {
  run: Run;
  model: Model;
  dataset: Dataset;
  deployment: Deployment;
  node: Node;
}
type PageQuery = { pageSize: number; pageToken: string; filter: string };

const page = <T>(items: T[], info: PageInfo | undefined): ListPage<T> => ({
  items,
  total: Number(info?.total ?? items.length),
  nextPageToken: info?.nextPageToken ?? "",
});

const fetchers: { [K in ListKind]: (query: PageQuery) => Promise<ListPage<Items[K]>> } = {
  run: async (query) => {
    const response = await clients.runs.listRuns({ page: query });
    return page(response.runs, response.page);
  },
  model: async (query) => {
    const response = await clients.models.listModels({ page: query });
    return page(response.models, response.page);
  },
  dataset: async (query) => {
    const response = await clients.datasets.listDatasets({ page: query });
    return page(response.datasets, response.page);
  },
  deployment: async (query) => {
    const response = await clients.deployments.listDeployments({ page: query });
    return page(response.deployments, response.page);
  },
  node: async (query) => {
    const response = await clients.nodes.listNodes({ page: query });
    return page(response.nodes, response.page);
  },
};

/** A list by pages; `items` is what has been read so far, the same array until more or other is read. */
export function useList<K extends ListKind>(kind: K, filter = "", pageSize = 100) {
  const query = useInfiniteQuery({
    queryKey: keys.list(kind, filter),
    queryFn: ({ pageParam }) => fetchers[kind]({ pageSize, pageToken: pageParam, filter }) as Promise<ListPage<Items[K]>>,
    initialPageParam: "",
    getNextPageParam: (last) => last.nextPageToken || undefined,
    placeholderData: keepPreviousData,
  });
  const items: Items[K][] = useMemo(() => query.data?.pages.flatMap((one) => one.items) ?? [], [query.data]);
  return {
    items,
    total: query.data?.pages[0]?.total ?? 0,
    loading: query.isPending,
    error: query.data ? null : query.error,
    hasMore: query.hasNextPage,
    loadMore: () => {
      if (!query.isFetchingNextPage && query.hasNextPage) void query.fetchNextPage();
    },
    reload: () => void query.refetch(),
  };
}

export const useSetupState = () =>
  useQuery({ queryKey: keys.setup, queryFn: () => clients.auth.getSetupState({}), meta: { live: false } });

const userQuery = { queryKey: keys.user, queryFn: () => clients.auth.getCurrentUser({}), meta: { live: false } };

export const useUser = () => useQuery(userQuery);

/** Asks who is signed in before the frame is there that shows it. */
export const prefetchUser = (cache: QueryClient) => void cache.prefetchQuery(userQuery);

export const useApiTokens = (enabled: boolean) =>
  useQuery({
    queryKey: keys.apiTokens,
    queryFn: async () => (await clients.auth.listApiTokens({})).apiTokens,
    enabled,
    meta: { live: false },
  });

export const useWorkflows = () =>
  useQuery({
    queryKey: keys.workflows,
    queryFn: async () => (await clients.workflows.listWorkflows({})).workflows,
    meta: { live: false },
  });

export const useWorkflow = (name: string) =>
  useQuery({
    queryKey: [...keys.workflows, name],
    queryFn: () => clients.workflows.getWorkflow({ name }),
    meta: { live: false },
  });

/** What a run would do and what is wrong with its values; the former answer stays until the next is there. */
export const usePlan = (workflow: string, parameters: Record<string, string>, name: string) =>
  useQuery({
    queryKey: keys.plan(workflow, parameters, name),
    queryFn: ({ signal }) => clients.workflows.planRun({ workflow, parameters, name }, { signal }),
    placeholderData: keepPreviousData,
    gcTime: 10_000,
  });

export const useRun = (id: string) =>
  useQuery({ queryKey: keys.one("run", id), queryFn: () => clients.runs.getRun({ id }), enabled: id !== "" });

const together = (results: UseQueryResult<Run>[]) => ({
  runs: results.flatMap((one) => (one.data ? [one.data] : [])),
  loading: results.some((one) => one.isPending),
  error: results.find((one) => one.error && !one.data)?.error ?? null,
});

/** Several runs by their ids; `runs` is the same array until one of them changes, when `ids` is. */
export function useRuns(ids: readonly string[]) {
  const queries = useMemo(() => ids.map((id) => ({ queryKey: keys.one("run", id), queryFn: () => clients.runs.getRun({ id }) })), [ids]);
  return useQueries({ queries, combine: together });
}

export const useModel = (id: string) =>
  useQuery({ queryKey: keys.one("model", id), queryFn: () => clients.models.getModel({ id }) });

export const useModelVersions = (modelId: string) =>
  useQuery({
    queryKey: keys.versions("model", modelId),
    queryFn: async () =>
      (await clients.models.listModelVersions({ modelId, page: { pageSize: 500, pageToken: "", filter: "" } })).versions,
    enabled: modelId !== "",
  });

export const useModelVersion = (id: string) =>
  useQuery({
    queryKey: keys.version("model", id),
    queryFn: () => clients.models.getModelVersion({ id }),
    enabled: id !== "",
  });

export const useLineage = (id: string) =>
  useQuery({
    queryKey: keys.lineage(id),
    queryFn: () => clients.models.getLineage({ id }),
    enabled: id !== "",
  });

export const useDataset = (id: string) =>
  useQuery({ queryKey: keys.one("dataset", id), queryFn: () => clients.datasets.getDataset({ id }) });

export const useDatasetVersions = (datasetId: string) =>
  useQuery({
    queryKey: keys.versions("dataset", datasetId),
    queryFn: async () =>
      (await clients.datasets.listDatasetVersions({ datasetId, page: { pageSize: 500, pageToken: "", filter: "" } }))
        .versions,
    enabled: datasetId !== "",
  });

export const useDatasetVersion = (id: string) =>
  useQuery({
    queryKey: keys.version("dataset", id),
    queryFn: () => clients.datasets.getDatasetVersion({ id }),
    enabled: id !== "",
  });

export interface PreviewQuery {
  artifactId?: string;
  datasetVersionId?: string;
  format: string;
  roles: Record<string, string>;
  modelVersionId: string;
  rows: number;
  offset: number;
}

export const usePreview = (query: PreviewQuery) =>
  useQuery({
    queryKey: keys.preview(query),
    queryFn: ({ signal }) =>
      clients.datasets.previewDataset(
        {
          source: query.artifactId
            ? { case: "artifactId", value: query.artifactId }
            : { case: "datasetVersionId", value: query.datasetVersionId ?? "" },
          mapping: { format: query.format, roles: query.roles },
          modelVersionId: query.modelVersionId,
          rows: query.rows,
          offset: BigInt(query.offset),
        },
        { signal },
      ),
    enabled: Boolean(query.artifactId || query.datasetVersionId),
    placeholderData: keepPreviousData,
    meta: { live: false },
  });

export const useDeployment = (id: string) =>
  useQuery({ queryKey: keys.one("deployment", id), queryFn: () => clients.deployments.getDeployment({ id }) });

/** Since the deployment's start, thinned by the server; live ones are appended by the stream when the page's scope asks. */
export const useDeploymentSamples = (deploymentId: string) =>
  useQuery({
    queryKey: keys.deploymentSamples(deploymentId),
    queryFn: async () => (await clients.deployments.listDeploymentSamples({ deploymentId, maxPoints: 0 })).samples,
  });

export const useDeploymentKeys = (deploymentId: string) =>
  useQuery({
    queryKey: keys.deploymentKeys(deploymentId),
    queryFn: async () => (await clients.deployments.listDeploymentKeys({ deploymentId })).keys,
  });

export const useNode = (id: string) =>
  useQuery({ queryKey: keys.one("node", id), queryFn: () => clients.nodes.getNode({ id }) });

/** Samples of the last ten minutes; live ones are appended by the stream when the page's scope asks for samples. */
export const useSamples = (nodeId: string) =>
  useQuery({
    queryKey: keys.samples(nodeId),
    queryFn: async () => {
      const since = BigInt(Math.floor(Date.now() / 1000) - 600);
      return (await clients.nodes.listNodeSamples({ nodeId, since: { seconds: since, nanos: 0 }, maxPoints: 0 })).samples;
    },
    enabled: nodeId !== "",
  });

export const useTaskSpec = (runId: string, task: string, attempts: number) =>
  useQuery({
    queryKey: keys.spec(runId, task, attempts),
    queryFn: async () => (await clients.runs.getTaskSpec({ runId, task })).json,
    enabled: task !== "" && attempts > 0,
    retry: false,
  });
