// State of a view that lives in its address: filters, tabs, sort, zoom, selection. Reload and share give the same view.
import { useCallback, useEffect, useRef, useState } from "react";
import { useNavigate, useSearchParams } from "react-router-dom";

// Changes of one moment are written together, or the second would undo the first.
let pending: URLSearchParams | null = null;

export type UrlChanges = Record<string, string | undefined>;

/** Writes several parameters of the address at once; undefined or empty removes one. */
export function useSetUrl(): (changes: UrlChanges) => void {
  const navigate = useNavigate();
  return useCallback(
    (changes: UrlChanges) => {
      if (!pending) {
        const path = window.location.pathname;
        const next = new URLSearchParams(window.location.search);
        pending = next;
        queueMicrotask(() => {
          pending = null;
          if (window.location.pathname !== path) return;
          const search = next.toString();
          navigate({ search: search ? `?${search}` : "" }, { replace: true });
        });
      }
      for (const [name, value] of Object.entries(changes)) {
        if (value) pending.set(name, value);
        else pending.delete(name);
      }
    },
    [navigate],
  );
}

/** One parameter of the address; `otherwise` is not written. */
export function useUrlState(name: string, otherwise = ""): [string, (value: string) => void] {
  const [params] = useSearchParams();
  const setUrl = useSetUrl();
  const value = params.get(name) ?? otherwise;
  const set = useCallback(
    (next: string) => setUrl({ [name]: next === otherwise ? undefined : next }),
    [setUrl, name, otherwise],
  );
  return [value, set];
}

/** As useUrlState, for text being typed: the input follows at once, the address shortly after. */
export function useUrlText(name: string): [shown: string, settled: string, set: (value: string) => void] {
  const [settled, setSettled] = useUrlState(name);
  const [shown, setShown] = useState(settled);
  useEffect(() => setShown(settled), [settled]);
  useEffect(() => {
    if (shown === settled) return;
    const timer = setTimeout(() => setSettled(shown), 200);
    return () => clearTimeout(timer);
    // Only typing starts the clock; a settled change has set `shown` above.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [shown]);
  // What was typed just before its view closed (another tab of the page) is kept too.
  const unsettled = useRef<() => void>(() => undefined);
  unsettled.current = () => shown !== settled && setSettled(shown);
  useEffect(() => {
    const path = window.location.pathname;
    return () => {
      if (window.location.pathname === path) unsettled.current();
    };
  }, []);
  return [shown, settled, setShown];
}
