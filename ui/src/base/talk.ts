// A talk of the playground: its turns, the request that asks for the next one, and the same request as curl and Python.
import { type Checked, checkSchema, checkTools, parseJson } from "@/base/json_check";
import { type Mode, readSettings, type Settings } from "@/base/sampling";

export interface ToolCall {
  id: string;
  name: string;
  /** JSON text, as the model wrote it. */
  arguments: string;
}
export interface TokenAlternative {
  token: string;
  logprob: number;
}
export interface ShownToken extends TokenAlternative {
  /** The likeliest ones in its place, itself among them or not. */
  top: TokenAlternative[];
}
/** How an answer went. */
export interface Measured {
  firstAfterSeconds?: number;
  tokensPerSecond?: number;
  promptTokens?: number;
  completionTokens?: number;
  finishReason: string;
}
export interface Turn {
  role: "user" | "assistant" | "tool";
  content: string;
  calls?: ToolCall[];
  /** Of a tool's result: the call that it answers. */
  callId?: string;
  tokens?: ShownToken[] | undefined;
  measured?: Measured;
  /** Further answers to the same words, where several were asked for. */
  others?: Said[];
}
/** One of several answers. */
export type Said = Pick<Turn, "content" | "calls" | "tokens">;

export type OutputKind = "text" | "json_object" | "json_schema" | "regex" | "choice" | "grammar";

/** What is kept between visits and is the same for both sides. */
export interface Scene {
  system: string;
  settings: Settings;
  /** 0: no probabilities; else so many alternatives per token. */
  alternatives: number;
  tools: string;
  toolChoice: string;
  output: OutputKind;
  /** The schema, expression, choices or grammar, by kind. */
  outputTexts: Partial<Record<OutputKind, string>>;
}

export const startScene: Scene = {
  system: "",
  settings: { temperature: "0.7", max_tokens: "256" },
  alternatives: 0,
  tools: "",
  toolChoice: "auto",
  output: "text",
  outputTexts: {},
};

export const exampleTools = JSON.stringify(
  [
    {
      type: "function",
      function: {
        name: "get_weather",
        description: "The weather of a city now",
        parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
      },
    },
  ],
  null,
  2,
);
export const exampleSchema = JSON.stringify(
  { type: "object", properties: { answer: { type: "string" }, confidence: { type: "number" } }, required: ["answer", "confidence"] },
  null,
  2,
);

export interface OutputCheck {
  fields: Record<string, unknown>;
  wrong: string;
}

/** The request's fields that bind the answer's form. */
export function readOutput(scene: Scene): OutputCheck {
  const text = scene.outputTexts[scene.output] ?? "";
  switch (scene.output) {
    case "text":
      return { fields: {}, wrong: "" };
    case "json_object":
      return { fields: { response_format: { type: "json_object" } }, wrong: "" };
    case "json_schema": {
      const { value, wrong } = checkSchema(text);
      return { fields: wrong ? {} : { response_format: { type: "json_schema", json_schema: { name: "answer", schema: value } } }, wrong };
    }
    case "regex":
      return text ? { fields: { guided_regex: text }, wrong: "" } : { fields: {}, wrong: "an expression is needed" };
    case "choice": {
      const choices = text.split("\n").map((line) => line.trim()).filter(Boolean);
      return choices.length > 0 ? { fields: { guided_choice: choices }, wrong: "" } : { fields: {}, wrong: "one choice per line is needed" };
    }
    case "grammar":
      return text ? { fields: { guided_grammar: text }, wrong: "" } : { fields: {}, wrong: "a grammar is needed" };
  }
}

export function readTools(scene: Scene): Checked<unknown[]> {
  return scene.tools.trim() === "" ? { value: [], wrong: "" } : checkTools(scene.tools);
}

/** Whether everything in the scene can be sent. */
export function sceneIsGood(scene: Scene, mode: Mode): boolean {
  const tools = mode === "chat" ? readTools(scene).wrong : "";
  return Object.keys(readSettings(scene.settings, mode).wrong).length === 0 && !readOutput(scene).wrong && !tools;
}

type Body = Record<string, unknown>;

function message(turn: Turn): Body {
  if (turn.role === "tool") return { role: "tool", tool_call_id: turn.callId ?? "", content: turn.content };
  const calls = turn.calls?.map((call) => ({ id: call.id, type: "function", function: { name: call.name, arguments: call.arguments } }));
  return { role: turn.role, content: turn.content, ...(calls?.length ? { tool_calls: calls } : {}) };
}

/** Body of POST /v1/chat/completions for the turn after `turns`. */
export function chatBody(model: string, scene: Scene, turns: readonly Turn[]): Body {
  const tools = readTools(scene).value ?? [];
  const system = scene.system.trim() ? [{ role: "system", content: scene.system }] : [];
  return {
    model,
    messages: [...system, ...turns.map(message)],
    ...readSettings(scene.settings, "chat").values,
    ...(scene.alternatives > 0 ? { logprobs: true, top_logprobs: scene.alternatives } : {}),
    ...(tools.length > 0 ? { tools, tool_choice: toolChoice(scene.toolChoice) } : {}),
    ...readOutput(scene).fields,
  };
}

const toolChoice = (choice: string): unknown =>
  ["auto", "none", "required"].includes(choice) ? choice : { type: "function", function: { name: choice } };

/** Body of POST /v1/completions. */
export function textBody(model: string, scene: Scene, prompt: string): Body {
  return {
    model,
    prompt,
    ...readSettings(scene.settings, "text").values,
    ...(scene.alternatives > 0 ? { logprobs: scene.alternatives } : {}),
    ...readOutput(scene).fields,
  };
}

/** The answer that one reads goes back among the others, in its place, and that other is the one that the talk goes on from. */
export function takeOther(turn: Turn, index: number): Turn {
  const { content, calls, tokens, others = [], ...rest } = turn;
  const taken = others[index];
  if (!taken) return turn;
  const before: Said = { content, ...(calls ? { calls } : {}), ...(tokens ? { tokens } : {}) };
  return { ...rest, ...taken, others: others.map((one, at) => (at === index ? before : one)) };
}

/** Turns of a talk from its user's n-th message on are taken away; the number is counted from 0. */
export function cutAtUser(turns: readonly Turn[], number: number): Turn[] {
  let seen = -1;
  const at = turns.findIndex((turn) => turn.role === "user" && (seen += 1) === number);
  return at < 0 ? turns.slice() : turns.slice(0, at);
}

/** Calls of the last answer that have no result yet. */
export function openCalls(turns: readonly Turn[]): ToolCall[] {
  const answered = new Set(turns.flatMap((turn) => (turn.callId ? [turn.callId] : [])));
  const last = [...turns].reverse().find((turn) => turn.role !== "tool");
  return last?.role === "assistant" ? (last.calls ?? []).filter((call) => !answered.has(call.id)) : [];
}

/** Arguments of a call as they are read best: name and value, or the text where it is no object. */
export function argumentRows(text: string): [string, string][] {
  const { value } = parseJson(text);
  if (typeof value !== "object" || value === null || Array.isArray(value)) return [["", text]];
  return Object.entries(value).map(([name, one]) => [name, typeof one === "string" ? one : JSON.stringify(one)]);
}
