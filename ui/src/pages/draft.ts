// A wizard's draft: kept by the browser until the run is started, so that a reload loses nothing.
import { useEffect, useState } from "react";
import { type FieldValue } from "@/base/parameters";
import { readStored, writeStored } from "@/base/storage";

export interface Draft {
  values: Record<string, FieldValue>;
  name: string;
  /** Steps that were left once: what is missing in them is said from then on. */
  visited: string[];
  /** The run whose values it began with. */
  from?: string;
  /** What a sweep varies. */
  sweep?: { random: boolean; runs: number; axes: { parameter: string; text: string }[] };
  /** Starting twice with the same key starts one run. */
  idempotencyKey: string;
}

const fresh = (): Draft => ({ values: {}, name: "", visited: [], idempotencyKey: newKey() });

function newKey(): string {
  // randomUUID is missing on plain http other than loopback.
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** `from`: a run whose values the draft begins with; a draft that was begun from it goes on. */
export function useDraft(workflow: string, preset: Record<string, FieldValue>, from = "") {
  const key = `draft.${workflow}`;
  const [draft, setDraft] = useState<Draft>(() => {
    const kept = readStored<Partial<Draft>>(key, {});
    if (from && kept.from !== from) return { ...fresh(), values: preset, from };
    if (from) return { ...fresh(), ...kept };
    const stored = { ...fresh(), ...kept };
    return { ...stored, values: { ...stored.values, ...preset } };
  });
  useEffect(() => writeStored(key, draft), [key, draft]);
  return {
    draft,
    setValue: (name: string, value: FieldValue) =>
      setDraft((old) => ({ ...old, values: { ...old.values, [name]: value } })),
    setSweep: (sweep: NonNullable<Draft["sweep"]>) => setDraft((old) => ({ ...old, sweep })),
    setName: (name: string) => setDraft((old) => ({ ...old, name })),
    visit: (step: string) =>
      setDraft((old) => (old.visited.includes(step) ? old : { ...old, visited: [...old.visited, step] })),
    clear: () => {
      const next = fresh();
      setDraft(next);
      // At once: the page may be left before the effect runs.
      writeStored(key, undefined);
    },
  };
}

/** The value as it was `ms` ago, or as it is when it has rested since. */
export function useSettled<T>(value: T, ms: number): T {
  const [settled, setSettled] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), ms);
    return () => clearTimeout(timer);
  }, [value, ms]);
  return settled;
}
