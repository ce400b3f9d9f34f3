// Values of a workflow's parameters between what a form shows and the JSON texts that the API takes.
import { withUnit } from "@/base/format";

/** JSON texts by parameter name: {"epochs": "1", "scheduler": "\"cosine\""}. */
export type ParameterTexts = Record<string, string>;

/** What a form field holds: text, a number, a switch, or nothing yet. */
export type FieldValue = string | number | boolean | null;

export function decodeText(text: string | undefined): FieldValue {
  if (text === undefined || text === "") return null;
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "string" || typeof value === "number" || typeof value === "boolean") return value;
    return value === null ? null : text;
  } catch {
    return text; // models and datasets also travel as bare ids
  }
}

/** Undefined when there is nothing to send: the server then takes the default. */
export function encodeValue(value: FieldValue): string | undefined {
  if (value === null || value === "") return undefined;
  return JSON.stringify(value);
}

/** Only what differs from nothing, in the order of names: equal drafts give equal texts. */
export function encodeAll(values: Record<string, FieldValue>): ParameterTexts {
  const texts: ParameterTexts = {};
  for (const name of Object.keys(values).sort()) {
    const text = encodeValue(values[name] ?? null);
    if (text !== undefined) texts[name] = text;
  }
  return texts;
}

interface Conditional {
  name: string;
  defaultJson: string;
  conditions: { parameter: string; values: string[] }[];
}

/** Those that count with these values: their conditions are about parameters before them, which count too. */
export function counting<T extends Conditional>(parameters: readonly T[], values: Record<string, FieldValue>): T[] {
  const decided = new Map<string, string>();
  return parameters.filter(({ name, defaultJson, conditions }) => {
    if (!conditions.every((one) => one.values.includes(decided.get(one.parameter) ?? ""))) return false;
    decided.set(name, String(values[name] ?? decodeText(defaultJson) ?? ""));
    return true;
  });
}

/** "parameters.learning_rate" -> "learning_rate"; anything else -> "". */
export function parameterOfField(field: string): string {
  const match = /^parameters(?:\.|\[")([^"\]]+)(?:"\])?$/.exec(field);
  return match?.[1] ?? "";
}

/** As people read it: 20,000, Yes, cosine. */
export function sayValue(value: FieldValue): string {
  if (value === null) return "–";
  if (typeof value === "boolean") return value ? "Yes" : "No";
  return typeof value === "number" ? new Intl.NumberFormat("en-US", { maximumSignificantDigits: 12 }).format(value) : value;
}

/** The same as its parameter names and measures it: "AdamW, 8 bit", "1 process"; of an unknown parameter as it is. */
export function sayParameter(value: FieldValue, parameter?: { choices: { value: string; label: string }[]; unit: string }): string {
  const choice = parameter?.choices.find((one) => one.value === value);
  return withUnit(choice?.label ?? sayValue(value), parameter?.unit ?? "");
}
