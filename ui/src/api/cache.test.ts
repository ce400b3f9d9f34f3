// How changes of the watch stream are written into the cache.
import { create } from "@bufbuild/protobuf";
import { type InfiniteData, QueryClient, QueryObserver } from "@tanstack/react-query";
import { describe, expect, it } from "vitest";
import { applyChange, keys, type ListPage, readAgain } from "@/api/cache";
import { type Run, RunSchema, RunState, TaskState } from "@/gen/slipway/v1/run_pb";

const run = (id: string, state: RunState) =>
  create(RunSchema, { id, state, tasks: [{ name: "train", state: TaskState.RUNNING }] });

function cacheWith(runs: Run[]): QueryClient {
  const cache = new QueryClient();
  const data: InfiniteData<ListPage<Run>> = { pages: [{ items: runs, total: runs.length, nextPageToken: "" }], pageParams: [""] };
  cache.setQueryData(keys.list("run", ""), data);
  cache.setQueryData(keys.list("run", "state:running"), data);
  for (const one of runs) cache.setQueryData(keys.one("run", one.id), one);
  return cache;
}
const listed = (cache: QueryClient) =>
  cache.getQueryData<InfiniteData<ListPage<Run>>>(keys.list("run", ""))!.pages[0]!.items;
const isStale = (cache: QueryClient, filter: string) => cache.getQueryState(keys.list("run", filter))!.isInvalidated;

describe("applyChange", () => {
  it("replaces a run where it is shown", () => {
    const cache = cacheWith([run("a", RunState.RUNNING), run("b", RunState.RUNNING)]);
    applyChange(cache, { case: "run", value: run("a", RunState.SUCCEEDED) });
    expect(listed(cache).map((one) => one.state)).toEqual([RunState.SUCCEEDED, RunState.RUNNING]);
    expect(cache.getQueryData<Run>(keys.one("run", "a"))!.state).toBe(RunState.SUCCEEDED);
  });

  it("reads filtered lists again when a state changed, and all lists when a run is new", () => {
    const changed = cacheWith([run("a", RunState.RUNNING)]);
    applyChange(changed, { case: "run", value: run("a", RunState.FAILED) });
    expect([isStale(changed, ""), isStale(changed, "state:running")]).toEqual([false, true]);
    const added = cacheWith([run("a", RunState.RUNNING)]);
    applyChange(added, { case: "run", value: run("new", RunState.QUEUED) });
    expect(isStale(added, "")).toBe(true);
  });

  it("wins over an older answer that is still on its way, the first one or a later one", async () => {
    for (const known of [[], [run("a", RunState.QUEUED)]]) {
      const cache = cacheWith(known);
      let answer: (older: Run) => void = () => undefined;
      const observer = new QueryObserver<Run>(cache, {
        queryKey: keys.one("run", "a"),
        queryFn: () => new Promise<Run>((resolve) => (answer = resolve)),
      });
      const stop = observer.subscribe(() => undefined);
      if (known.length > 0) void observer.refetch();
      applyChange(cache, { case: "run", value: run("a", RunState.RUNNING) });
      answer(run("a", RunState.QUEUED));
      await new Promise((resolve) => setTimeout(resolve));
      expect(cache.getQueryData<Run>(keys.one("run", "a"))!.state).toBe(RunState.RUNNING);
      stop();
    }
  });

  it("puts progress on its task alone", () => {
    const cache = cacheWith([run("a", RunState.RUNNING), run("b", RunState.RUNNING)]);
    const progress = create(RunSchema, { tasks: [{ progress: { done: 3n, total: 9n, unit: "step" } }] }).tasks[0]!.progress!;
    applyChange(cache, {
      case: "progress",
      value: { $typeName: "slipway.v1.ProgressChange", runId: "a", task: "train", progress },
    });
    expect(listed(cache)[0]!.tasks[0]!.progress?.done).toBe(3n);
    expect(listed(cache)[1]!.tasks[0]!.progress).toBeUndefined();
    expect(cache.getQueryData<Run>(keys.one("run", "a"))!.tasks[0]!.progress?.total).toBe(9n);
  });
});

describe("readAgain", () => {
  it("asks anew for what was just being read for the first time", async () => {
    const cache = new QueryClient();
    const answers: ((value: string) => void)[] = [];
    const observer = new QueryObserver<string>(cache, {
      queryKey: ["thing"],
      queryFn: () => new Promise<string>((resolve) => answers.push(resolve)),
    });
    const stop = observer.subscribe(() => undefined);
    const done = readAgain(cache);
    await new Promise((resolve) => setTimeout(resolve));
    expect(answers.length).toBe(2);
    answers[0]!("before the stream");
    answers[1]!("after");
    await done;
    expect(cache.getQueryData(["thing"])).toBe("after");
    stop();
  });
});
