// The page's one watch stream: opened for the scope the page asks for, resumed from its cursor with backoff.
import { Code, ConnectError } from "@connectrpc/connect";
import { type WatchResponse } from "@/gen/slipway/v1/event_pb";

export interface WatchScope {
  /** A run's everything; empty for the changes of all runs, deployments and nodes. */
  runId?: string;
  logs?: boolean;
  samples?: boolean;
  /** Samples of this deployment too. */
  deploymentId?: string;
}

export type Change = Exclude<WatchResponse["change"], { case: undefined }>;
export type WatchState = "connecting" | "live" | "waiting";

export interface WatchCallbacks {
  /** A fresh stream has its cursor: what was read before may have missed something, what is read from here on may not. */
  onStart(): void;
  onChanges(changes: Change[]): void;
  onState(state: WatchState): void;
  onSignedOut(): void;
}

export interface WatchOpener {
  (
    request: { cursor: string; runId: string; logs: boolean; samples: boolean; deploymentId: string },
    options: { signal: AbortSignal },
  ): AsyncIterable<WatchResponse>;
}

export interface WatchTimes {
  firstRetryMs: number;
  longestRetryMs: number;
  /** Longer than the stream's keep-alive: a silent stream is a dead one. */
  silenceMs: number;
  /** Changes that come closely together are handed on together. */
  batchMs: number;
}
const defaultTimes: WatchTimes = { firstRetryMs: 250, longestRetryMs: 8_000, silenceMs: 40_000, batchMs: 16 };

/** Watches until `signal` aborts. Never throws. */
export async function watch(
  open: WatchOpener,
  scope: WatchScope,
  callbacks: WatchCallbacks,
  signal: AbortSignal,
  times: WatchTimes = defaultTimes,
): Promise<void> {
  let cursor = "";
  let retryMs = times.firstRetryMs;
  const batch = new Batch(callbacks, times.batchMs);
  while (!signal.aborted) {
    const attempt = new AbortController();
    const abort = () => attempt.abort();
    signal.addEventListener("abort", abort);
    let silence: ReturnType<typeof setTimeout> | undefined;
    const heard = () => {
      clearTimeout(silence);
      silence = setTimeout(abort, times.silenceMs);
    };
    try {
      callbacks.onState("connecting");
      heard();
      const { runId = "", logs = false, samples = false, deploymentId = "" } = scope;
      for await (const message of open({ cursor, runId, logs, samples, deploymentId }, { signal: attempt.signal })) {
        if (signal.aborted) break;
        heard();
        if (cursor === "") callbacks.onStart();
        callbacks.onState("live");
        retryMs = times.firstRetryMs;
        if (message.cursor) cursor = message.cursor;
        if (message.change.case !== undefined) batch.add(message.change);
      }
    } catch (error) {
      const { code } = ConnectError.from(error);
      if (!signal.aborted) {
        if (code === Code.Unauthenticated) {
          callbacks.onSignedOut();
          break;
        }
        // The cursor is no longer known: start afresh and read the lists again.
        if (code === Code.OutOfRange || code === Code.InvalidArgument) cursor = "";
      }
    } finally {
      clearTimeout(silence);
      signal.removeEventListener("abort", abort);
      attempt.abort();
    }
    if (signal.aborted) break;
    callbacks.onState("waiting");
    await pause(retryMs * (0.75 + Math.random() / 2), signal);
    retryMs = Math.min(retryMs * 2, times.longestRetryMs);
  }
  batch.drop();
}

class Batch {
  private changes: Change[] = [];
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly callbacks: WatchCallbacks,
    private readonly batchMs: number,
  ) {}

  add(change: Change): void {
    this.changes.push(change);
    this.timer ??= setTimeout(() => {
      this.timer = undefined;
      const changes = this.changes;
      this.changes = [];
      this.callbacks.onChanges(changes);
    }, this.batchMs);
  }

  drop(): void {
    clearTimeout(this.timer);
    this.changes = [];
  }
}

/** Ends early when the browser says it is online again. */
function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      globalThis.removeEventListener?.("online", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", done);
    globalThis.addEventListener?.("online", done);
  });
}
