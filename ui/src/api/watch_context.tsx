// Gives every page the one watch stream: the shell holds it, pages choose its scope and hear its changes.
import { useQueryClient } from "@tanstack/react-query";
import { createContext, type ReactNode, useContext, useEffect, useMemo, useRef, useState } from "react";
import { applyChange, readAgain } from "@/api/cache";
import { clients, reportSignedOut } from "@/api/clients";
import { type Change, watch, type WatchScope, type WatchState } from "@/api/watch";

type Listener = (changes: Change[]) => void;

interface WatchContext {
  setScope(scope: WatchScope): void;
  listen(listener: Listener): () => void;
}
const Context = createContext<WatchContext | null>(null);
const StateContext = createContext<WatchState>("connecting");

export function WatchProvider({ children }: { children: ReactNode }) {
  const cache = useQueryClient();
  const [scope, setScope] = useState<WatchScope>({});
  const [state, setState] = useState<WatchState>("connecting");
  const listeners = useRef(new Set<Listener>());
  const { runId = "", logs = false, samples = false, deploymentId = "" } = scope;

  useEffect(() => {
    const stop = new AbortController();
    void watch(
      (request, options) => clients.events.watch(request, options),
      { runId, logs, samples, deploymentId },
      {
        onStart: () => void readAgain(cache),
        onChanges: (changes) => {
          for (const change of changes) applyChange(cache, change);
          for (const listener of listeners.current) listener(changes);
        },
        onState: setState,
        onSignedOut: reportSignedOut,
      },
      stop.signal,
    );
    return () => stop.abort();
  }, [cache, runId, logs, samples, deploymentId]);

  const context = useMemo<WatchContext>(
    () => ({
      setScope,
      listen: (listener) => {
        listeners.current.add(listener);
        return () => listeners.current.delete(listener);
      },
    }),
    [],
  );
  return (
    <Context.Provider value={context}>
      <StateContext.Provider value={state}>{children}</StateContext.Provider>
    </Context.Provider>
  );
}

/** What the page's stream carries while the page is shown. */
export function useWatchScope({ runId = "", logs = false, samples = false, deploymentId = "" }: WatchScope): void {
  const context = useContext(Context);
  useEffect(() => {
    context?.setScope({ runId, logs, samples, deploymentId });
    return () => context?.setScope({});
  }, [context, runId, logs, samples, deploymentId]);
}

/** Hears each batch of changes, after the cache has taken them. */
export function useChanges(listener: Listener): void {
  const context = useContext(Context);
  const latest = useRef(listener);
  useEffect(() => {
    latest.current = listener;
  });
  useEffect(() => context?.listen((changes) => latest.current(changes)), [context]);
}

export function useWatchState(): WatchState {
  return useContext(StateContext);
}
