// Checks JSON as it is typed: where it breaks, and whether it is what tools or a schema must be.

export interface Checked<T> {
  value?: T;
  /** What is wrong, with its place; empty when nothing is. */
  wrong: string;
}

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** Line and column of a position, from 1. */
export function placeOf(text: string, position: number): string {
  const before = text.slice(0, position).split("\n");
  return `line ${before.length}, column ${(before[before.length - 1]?.length ?? 0) + 1}`;
}

/** Where the text stops being JSON, and what was expected there: engines' own messages differ and often have no place. */
class Scanner {
  at = 0;
  constructor(private readonly text: string) {}

  /** Throws a string. */
  document(): void {
    this.value(0);
    this.space();
    if (this.at < this.text.length) throw "nothing more is expected";
  }

  private space(): void {
    while (" \t\r\n".includes(this.text[this.at] ?? "x")) this.at += 1;
  }
  private take(pattern: RegExp): boolean {
    pattern.lastIndex = this.at;
    const match = pattern.exec(this.text);
    if (match) this.at = pattern.lastIndex;
    return match !== null;
  }
  private value(depth: number): void {
    if (depth > 200) throw "too deeply nested";
    this.space();
    const first = this.text[this.at];
    if (first === "{") return this.list("}", depth, () => this.member(depth));
    if (first === "[") return this.list("]", depth, () => this.value(depth + 1));
    if (first === '"') return this.string();
    if (this.take(/true|false|null/y) || this.take(/-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?/y)) return;
    throw "a value is expected";
  }
  private string(): void {
    // JSON's texts hold no control characters.
    // eslint-disable-next-line no-control-regex
    if (this.take(/"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y)) return;
    throw this.text[this.at] === '"' ? "this text has no end, a line break or a wrong escape" : "a text in double quotes is expected";
  }
  private member(depth: number): void {
    this.space();
    this.string();
    this.space();
    if (this.text[this.at] !== ":") throw "':' is expected";
    this.at += 1;
    this.value(depth + 1);
  }
  private list(end: string, depth: number, item: (depth: number) => void): void {
    this.at += 1;
    this.space();
    if (this.text[this.at] === end) {
      this.at += 1;
      return;
    }
    for (;;) {
      item(depth);
      this.space();
      const next = this.text[this.at];
      if (next !== "," && next !== end) throw `',' or '${end}' is expected`;
      this.at += 1;
      if (next === end) return;
    }
  }
}

export function parseJson(text: string): Checked<Json> {
  const scanner = new Scanner(text);
  try {
    scanner.document();
  } catch (said) {
    return { wrong: `${placeOf(text, scanner.at)}: ${String(said)}` };
  }
  return { value: JSON.parse(text) as Json, wrong: "" };
}

const isObject = (value: Json | undefined): value is { [key: string]: Json } =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const schemaTypes = ["string", "number", "integer", "boolean", "object", "array", "null"];

/** The first thing in a JSON Schema that no validator would take; only keywords whose shape is fixed are looked at. */
function wrongInSchema(schema: Json | undefined, where: string): string {
  if (typeof schema === "boolean") return "";
  if (!isObject(schema)) return `${where} must be a schema: an object`;
  const { type, properties, required, items } = schema;
  const types = Array.isArray(type) ? type : type === undefined ? [] : [type];
  const bad = types.find((one) => typeof one !== "string" || !schemaTypes.includes(one));
  if (bad !== undefined) return `${where}.type: ${JSON.stringify(bad)} is none of ${schemaTypes.join(", ")}`;
  if (schema["enum"] !== undefined && !Array.isArray(schema["enum"])) return `${where}.enum must be a list`;
  if (required !== undefined) {
    if (!Array.isArray(required) || required.some((one) => typeof one !== "string")) return `${where}.required must be a list of names`;
    const missing = isObject(properties) ? required.find((one) => !(String(one) in properties)) : undefined;
    if (missing !== undefined) return `${where}.required names ${JSON.stringify(missing)}, which is none of its properties`;
  }
  if (properties !== undefined) {
    if (!isObject(properties)) return `${where}.properties must be an object`;
    for (const [name, inner] of Object.entries(properties)) {
      const wrong = wrongInSchema(inner, `${where}.properties.${name}`);
      if (wrong) return wrong;
    }
  }
  if (items !== undefined) return wrongInSchema(items, `${where}.items`);
  for (const many of ["anyOf", "oneOf", "allOf"]) {
    const list = schema[many];
    if (list === undefined) continue;
    if (!Array.isArray(list) || list.length === 0) return `${where}.${many} must be a list of schemas`;
    for (const [index, inner] of list.entries()) {
      const wrong = wrongInSchema(inner, `${where}.${many}[${index}]`);
      if (wrong) return wrong;
    }
  }
  return "";
}

/** A JSON Schema for the answer. */
export function checkSchema(text: string): Checked<Json> {
  const parsed = parseJson(text);
  if (parsed.wrong) return parsed;
  if (!isObject(parsed.value)) return { wrong: "a schema is an object, as {\"type\": \"object\"}" };
  const wrong = wrongInSchema(parsed.value, "schema");
  return wrong ? { wrong } : parsed;
}

/** A list of OpenAI's tool definitions. */
export function checkTools(text: string): Checked<Json[]> {
  const parsed = parseJson(text);
  if (parsed.wrong) return { wrong: parsed.wrong };
  if (!Array.isArray(parsed.value)) return { wrong: "tools are a list: [ … ]" };
  const names = new Set<string>();
  for (const [index, tool] of parsed.value.entries()) {
    const where = `tools[${index}]`;
    if (!isObject(tool)) return { wrong: `${where} must be an object` };
    if (tool["type"] !== "function") return { wrong: `${where}.type must be "function"` };
    const made = tool["function"];
    if (!isObject(made)) return { wrong: `${where}.function must be an object with a name` };
    const name = made["name"];
    if (typeof name !== "string" || !/^[A-Za-z0-9_.-]{1,64}$/.test(name)) {
      return { wrong: `${where}.function.name must have 1 to 64 letters, digits, underscores, dashes and dots` };
    }
    if (names.has(name)) return { wrong: `${where}.function.name: another tool is called ${name} too` };
    names.add(name);
    if (made["parameters"] !== undefined) {
      const wrong = wrongInSchema(made["parameters"], `${where}.function.parameters`);
      if (wrong) return { wrong };
    }
  }
  return { value: parsed.value, wrong: "" };
}
