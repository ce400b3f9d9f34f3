// How a deployment serves: what can be set, what each choice costs and gives in plain words, and the message it makes.

export interface ServingChoice {
  value: string;
  label: string;
  help: string;
}

/** Formats of the weights. Figures are SmolLM2-135M's, as the tests measure them: others come close. */
export const weightTypes: readonly ServingChoice[] = [
  { value: "auto", label: "Automatic", help: "bf16 where the files have 16 bits, f32 where they have more; a quantised file stays as it is." },
  { value: "f32", label: "f32", help: "4 bytes a weight: exact, and the slowest." },
  { value: "bf16", label: "bf16", help: "2 bytes a weight: half the memory of f32 and about twice its speed, at no loss that one can measure." },
  { value: "int8", label: "int8", help: "1 byte a weight: about 1.7 times the speed of bf16. Perplexity grows by less than 1 %." },
  {
    value: "int4",
    label: "int4",
    help: "Half a byte a weight: the smallest and fastest. Answers become noticeably worse, unless the model was quantised with examples first.",
  },
];

/** Formats of the KV cache: what the model remembers of the texts that it works on. */
export const cacheTypes: readonly ServingChoice[] = [
  { value: "auto", label: "Automatic", help: "f32 beside f32 weights, else bf16." },
  { value: "f32", label: "f32", help: "Exact; holds the fewest tokens." },
  { value: "bf16", label: "bf16", help: "Holds twice as many tokens as f32 in the same memory." },
  { value: "int8", label: "int8", help: "Holds twice as many tokens as bf16, and long texts go faster. Perplexity grows by about 0.6 %." },
];

export interface ServingLimit {
  name: "maxModelLen" | "maxNumSeqs" | "queue" | "kvCacheTokens" | "threads" | "speculativeTokens";
  label: string;
  unit: string;
  most: number;
  otherwise: string;
  help: string;
}

export const servingLimits: readonly ServingLimit[] = [
  { name: "maxModelLen", label: "Context", unit: "tokens", most: 16777216, otherwise: "the model's own, at most 8,192", help: "Prompt and answer together. Longer requests are refused." },
  { name: "maxNumSeqs", label: "Requests at once", unit: "requests", most: 4096, otherwise: "64", help: "So many share a batch. More give more tokens per second in all, and fewer to each." },
  { name: "queue", label: "Requests that wait", unit: "requests", most: 1000000, otherwise: "256", help: "Beyond them, callers are told to come back later (429)." },
  { name: "kvCacheTokens", label: "KV cache size", unit: "tokens", most: 1099511627776, otherwise: "what the memory allows", help: "Of all requests together. Lower it to leave memory to others." },
  { name: "threads", label: "Threads", unit: "", most: 4096, otherwise: "one per core", help: "Lower it when other things run on the node." },
  { name: "speculativeTokens", label: "Guessed tokens", unit: "tokens", most: 64, otherwise: "none", help: "Guesses from the text itself, per step: quoting and code go faster, the answer stays the same." },
];

/** Numbers are undefined where the engine chooses. */
export type Serving = { dtype: string; kvCacheDtype: string } & Partial<Record<ServingLimit["name"], number>>;
export const startServing: Serving = { dtype: "auto", kvCacheDtype: "auto" };

type Sent = { dtype: string; kvCacheDtype: string } & Record<ServingLimit["name"], bigint>;

/** As the API has it. */
export function sentServing(serving: Serving): Sent {
  const numbers = servingLimits.map(({ name }): [string, bigint] => [name, BigInt(serving[name] ?? 0)]);
  return { dtype: serving.dtype, kvCacheDtype: serving.kvCacheDtype, ...Object.fromEntries(numbers) } as Sent;
}

export function readServing(sent: Sent): Serving {
  const numbers = servingLimits.flatMap(({ name }): [string, number][] => (sent[name] > 0n ? [[name, Number(sent[name])]] : []));
  return { dtype: sent.dtype || "auto", kvCacheDtype: sent.kvCacheDtype || "auto", ...Object.fromEntries(numbers) };
}

const bitsOf: Record<string, number> = { f32: 32, bf16: 16, int8: 8.5, int4: 5 };

/** Bytes of the weights in memory, with the scales of quantised ones; undefined while the engine chooses. */
export function weightBytes(parameters: number, dtype: string): number | undefined {
  const bits = bitsOf[dtype];
  return bits === undefined || parameters <= 0 ? undefined : (parameters * bits) / 8;
}
