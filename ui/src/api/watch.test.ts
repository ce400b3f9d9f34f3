// The watch stream against a fake event service: resuming, starting afresh, handing on changes.
import { create } from "@bufbuild/protobuf";
import { Code, ConnectError, createRouterTransport } from "@connectrpc/connect";
import { describe, expect, it } from "vitest";
import { createClients } from "@/api/clients";
import { type Change, watch, type WatchState } from "@/api/watch";
import { EventService, type WatchRequest, WatchResponseSchema } from "@/gen/slipway/v1/event_pb";

const times = { firstRetryMs: 1, longestRetryMs: 4, silenceMs: 1000, batchMs: 0 };
const list = (cursor: string, id: string) =>
  create(WatchResponseSchema, { cursor, change: { case: "list", value: { kind: "model", id } } });

/** Serves one script per connection and records the requests; stops after the last one. */
async function play(scripts: ((request: WatchRequest) => AsyncIterable<ReturnType<typeof list>>)[]) {
  const requests: WatchRequest[] = [];
  const stop = new AbortController();
  const transport = createRouterTransport(({ service }) => {
    service(EventService, {
      async *watch(request) {
        requests.push(request);
        const script = scripts[requests.length - 1];
        if (script) yield* script(request);
        else {
          stop.abort();
          throw new ConnectError("over", Code.Unavailable);
        }
      },
    });
  });
  const seen = { starts: 0, changes: [] as Change[], states: [] as WatchState[], signedOut: 0 };
  const { events } = createClients(transport);
  await watch(
    (request, options) => events.watch(request, options),
    { runId: "r1", logs: true },
    {
      onStart: () => (seen.starts += 1),
      onChanges: (changes) => seen.changes.push(...changes),
      onState: (state) => seen.states.push(state),
      onSignedOut: () => (seen.signedOut += 1),
    },
    stop.signal,
    times,
  );
  return { requests, seen };
}

const rest = () => new Promise((resolve) => setTimeout(resolve, 5));

describe("watch", () => {
  it("goes on from the last cursor after a break, and misses nothing", async () => {
    const { requests, seen } = await play([
      async function* () {
        yield create(WatchResponseSchema, { cursor: "10" });
        yield list("11", "a");
        await rest();
        throw new ConnectError("gone", Code.Unavailable);
      },
      async function* () {
        yield list("12", "b");
        await rest();
      },
    ]);
    expect(requests.map((one) => one.cursor)).toEqual(["", "11", "12"]);
    expect(requests[0]).toMatchObject({ runId: "r1", logs: true, samples: false });
    expect(seen.starts).toBe(1);
    expect(seen.changes.map((one) => one.case === "list" && one.value.id)).toEqual(["a", "b"]);
    expect(seen.states).toContain("waiting");
  });

  it("starts afresh when its cursor is no longer known", async () => {
    const { requests, seen } = await play([
      async function* () {
        yield create(WatchResponseSchema, { cursor: "10" });
        throw new ConnectError("gone", Code.Unavailable);
      },
      // eslint-disable-next-line require-yield
      async function* () {
        throw new ConnectError("too old", Code.OutOfRange);
      },
      async function* () {
        yield create(WatchResponseSchema, { cursor: "90" });
      },
    ]);
    expect(requests.map((one) => one.cursor)).toEqual(["", "10", "", "90"]);
    expect(seen.starts).toBe(2);
  });

  it("stops when no one is signed in", async () => {
    const { requests, seen } = await play([
      // eslint-disable-next-line require-yield
      async function* () {
        throw new ConnectError("sign in", Code.Unauthenticated);
      },
    ]);
    expect(requests).toHaveLength(1);
    expect(seen.signedOut).toBe(1);
  });
});
