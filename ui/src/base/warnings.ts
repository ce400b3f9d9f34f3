// What engines warned of, from their events: the same code once, as it was said last.

export interface Warning<T> {
  code: string;
  message: string;
  advice: string;
  count: number;
  latest: T;
}

/** The latest first. Events come in the order in which they were said; one that cannot be read is left out. */
export function warningsOf<T extends { json: string }>(events: readonly T[]): Warning<T>[] {
  const byCode = new Map<string, Warning<T>>();
  for (const event of events) {
    const said = read(event.json);
    if (!said) continue;
    const count = (byCode.get(said.code)?.count ?? 0) + 1;
    byCode.delete(said.code); // so that it goes to the end
    byCode.set(said.code, { ...said, count, latest: event });
  }
  return [...byCode.values()].reverse();
}

function read(json: string): { code: string; message: string; advice: string } | null {
  try {
    const { code, message, advice } = JSON.parse(json) as Record<string, unknown>;
    return { code: String(code ?? ""), message: String(message ?? ""), advice: String(advice ?? "") };
  } catch {
    return null;
  }
}
