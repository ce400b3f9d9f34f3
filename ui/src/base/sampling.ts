// The settings of a playground request: what there is, its ranges and help, and the body that the OpenAI API gets.

export type Mode = "chat" | "text";

export interface SettingPlan {
  name: string;
  label: string;
  help: string;
  type: "number" | "integer" | "texts" | "boolean" | "biases";
  minimum?: number;
  maximum?: number;
  step?: number;
  /** What the server does when it is not given. */
  otherwise: string;
  /** Folded away at first. */
  advanced?: boolean;
  only?: Mode;
}

/** Every sampling parameter of slipway-serve, with the bounds that it checks. */
export const settingPlans: readonly SettingPlan[] = [
  { name: "temperature", label: "Temperature", type: "number", minimum: 0, maximum: 2, step: 0.1, otherwise: "1", help: "How freely it chooses. 0 always takes the likeliest token." },
  { name: "max_tokens", label: "Longest answer", type: "integer", minimum: 1, maximum: 16777216, otherwise: "what the context holds", help: "Tokens after which the answer is cut." },
  { name: "top_p", label: "Top p", type: "number", minimum: 0, maximum: 1, step: 0.05, otherwise: "1", help: "Chooses among the likeliest tokens that together have this probability." },
  { name: "top_k", label: "Top k", type: "integer", minimum: -1, maximum: 16777216, otherwise: "all", help: "Chooses among so many of the likeliest tokens; 0 or -1 is all." },
  { name: "min_p", label: "Min p", type: "number", minimum: 0, maximum: 1, step: 0.01, otherwise: "0", help: "Leaves out tokens less likely than this share of the likeliest one." },
  { name: "repetition_penalty", label: "Repetition penalty", type: "number", minimum: 0.01, maximum: 10, step: 0.05, otherwise: "1", help: "Above 1, tokens that were there before become less likely; 1.1 keeps small models from looping." },
  { name: "seed", label: "Seed", type: "integer", minimum: -9007199254740991, maximum: 9007199254740991, otherwise: "random", help: "The same seed and settings give the same answer." },
  { name: "stop", label: "Stop texts", type: "texts", otherwise: "none", help: "One per line: the answer ends before the first of them." },
  { name: "n", label: "Answers", type: "integer", minimum: 1, maximum: 128, otherwise: "1", advanced: true, help: "So many answers to the same words, side by side; the talk goes on from the one that you take." },
  { name: "presence_penalty", label: "Presence penalty", type: "number", minimum: -2, maximum: 2, step: 0.1, otherwise: "0", advanced: true, help: "Takes this from the logit of each token that the answer already has." },
  { name: "frequency_penalty", label: "Frequency penalty", type: "number", minimum: -2, maximum: 2, step: 0.1, otherwise: "0", advanced: true, help: "The same, times how often the answer has it." },
  { name: "min_tokens", label: "Shortest answer", type: "integer", minimum: 0, maximum: 16777216, otherwise: "0", advanced: true, help: "No end is accepted before so many tokens." },
  { name: "ignore_eos", label: "Go on past the end", type: "boolean", otherwise: "off", advanced: true, help: "Ignores the model's end-of-text token: for measuring speed." },
  { name: "stop_token_ids", label: "Stop token ids", type: "texts", otherwise: "none", advanced: true, help: "One number per line: the answer ends at the first of these tokens." },
  { name: "logit_bias", label: "Logit bias", type: "biases", otherwise: "none", advanced: true, help: "One per line, as 123: -5. Adds to the logit of token 123; from -100 (never) to 100 (always)." },
  { name: "skip_special_tokens", label: "Hide special tokens", type: "boolean", otherwise: "on", advanced: true, help: "Turn it off to see end-of-turn and other markers in the answer." },
  { name: "include_stop_str_in_output", label: "Keep the stop text", type: "boolean", otherwise: "off", advanced: true, help: "Leaves the stop text at the end of the answer." },
  { name: "priority", label: "Priority", type: "integer", minimum: -2147483648, maximum: 2147483648, otherwise: "0", advanced: true, help: "Where requests wait, the lowest goes first." },
  { name: "echo", label: "Prompt too", type: "boolean", otherwise: "off", advanced: true, only: "text", help: "Begins the answer with the prompt." },
];

/** Values as they stand in the fields; what is missing is left to the server. */
export type Settings = Record<string, string | boolean | undefined>;

export const startSettings: Settings = { temperature: "0.7", max_tokens: "256" };

export interface Read {
  /** Fields of the request's body. */
  values: Record<string, unknown>;
  /** What is wrong, by field. */
  wrong: Record<string, string>;
}

function readNumber(plan: SettingPlan, text: string): number | string {
  const value = Number(text);
  if (!Number.isFinite(value)) return `'${text}' is no number`;
  if (plan.type === "integer" && !Number.isInteger(value)) return "a whole number is needed";
  const { minimum = -Infinity, maximum = Infinity } = plan;
  if (value < minimum) return `at least ${minimum}`;
  if (value > maximum) return `at most ${maximum}`;
  return value;
}

function readBiases(text: string): Record<string, number> | string {
  const biases: Record<string, number> = {};
  for (const line of text.split("\n").map((one) => one.trim()).filter(Boolean)) {
    const match = /^(\d+)\s*[:=\s]\s*([+-]?\d+(?:\.\d+)?)$/.exec(line);
    if (!match) return `'${line}' is not like 123: -5`;
    if (Math.abs(Number(match[2])) > 100) return `${match[2]} is not from -100 to 100`;
    biases[match[1]!] = Number(match[2]);
  }
  return biases;
}

function readOne(plan: SettingPlan, given: string | boolean): unknown {
  if (plan.type === "boolean" || typeof given === "boolean") return given === true;
  if (plan.type === "biases") return readBiases(given);
  if (plan.type === "texts") {
    // Spaces and \n belong to a stop text; the line's end does not.
    const lines = given.split("\n").filter((line) => line !== "").map((line) => line.replace(/\\n/g, "\n"));
    if (plan.name !== "stop_token_ids") return lines;
    const bad = lines.find((line) => !/^\d+$/.test(line.trim()));
    return bad === undefined ? lines.map(Number) : `'${bad}' is no token id`;
  }
  return readNumber(plan, given);
}

export function readSettings(settings: Settings, mode: Mode): Read {
  const read: Read = { values: {}, wrong: {} };
  for (const plan of settingPlans) {
    const given = settings[plan.name];
    if (given === undefined || given === "" || (plan.only && plan.only !== mode)) continue;
    const value = readOne(plan, given);
    if (typeof value === "string") read.wrong[plan.name] = value;
    else if (!(Array.isArray(value) && value.length === 0)) read.values[plan.name] = value;
  }
  const { min_tokens: least, max_tokens: most } = read.values as Record<string, number | undefined>;
  if (least !== undefined && most !== undefined && least > most) read.wrong["min_tokens"] = "at most the longest answer";
  return read;
}
