// Small things the browser keeps: drafts, open uploads, the chosen theme. A browser that keeps nothing is no error.

const prefix = "slipway.";

export function readStored<T>(key: string, otherwise: T): T {
  try {
    const text = window.localStorage.getItem(prefix + key);
    return text === null ? otherwise : (JSON.parse(text) as T);
  } catch {
    return otherwise;
  }
}

export function writeStored(key: string, value: unknown): void {
  try {
    if (value === undefined) window.localStorage.removeItem(prefix + key);
    else window.localStorage.setItem(prefix + key, JSON.stringify(value));
  } catch {
    // Private windows and full stores: the page works on without.
  }
}
