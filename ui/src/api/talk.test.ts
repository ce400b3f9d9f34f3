// The playground's pure parts: settings, JSON checks, requests, code, and what becomes of a stream.
import { describe, expect, it } from "vitest";
import { AnswerReader } from "@/api/chat";
import { asCurl, asPython, asPythonValue } from "@/base/code_samples";
import { checkSchema, checkTools, parseJson } from "@/base/json_check";
import { readSettings } from "@/base/sampling";
import { argumentRows, chatBody, cutAtUser, exampleSchema, exampleTools, openCalls, type Scene, sceneIsGood, startScene, takeOther, textBody, type Turn } from "@/base/talk";

const scene = (part: Partial<Scene>): Scene => ({ ...startScene, ...part });

describe("settings", () => {
  it("leave out what is not given, and read numbers, texts and biases", () => {
    const { values, wrong } = readSettings(
      { temperature: "0.5", top_k: "", seed: "7", stop: "END\n\\n\\n", logit_bias: "12: -5\n7=2.5", ignore_eos: true },
      "chat",
    );
    expect(wrong).toEqual({});
    expect(values).toEqual({ temperature: 0.5, seed: 7, stop: ["END", "\n\n"], logit_bias: { "12": -5, "7": 2.5 }, ignore_eos: true });
  });
  it("name what is wrong with each field", () => {
    const { wrong } = readSettings({ temperature: "3", max_tokens: "1.5", top_p: "x", logit_bias: "a: 1", stop_token_ids: "2\nb", min_tokens: "-1" }, "chat");
    expect(Object.keys(wrong).sort()).toEqual(["logit_bias", "max_tokens", "min_tokens", "stop_token_ids", "temperature", "top_p"]);
    expect(readSettings({ min_tokens: "9", max_tokens: "3" }, "chat").wrong["min_tokens"]).toMatch(/at most/);
  });
  it("keep fields of plain completions to them", () => {
    expect(readSettings({ echo: true }, "chat").values).toEqual({});
    expect(readSettings({ echo: true }, "text").values).toEqual({ echo: true });
  });
});

describe("JSON as it is typed", () => {
  it("says where it breaks", () => {
    expect(parseJson('{"a": 1,\n "b": }').wrong).toBe("line 2, column 7: a value is expected");
    expect(parseJson('{"a": 1').wrong).toBe("line 1, column 8: ',' or '}' is expected");
    expect(parseJson('{"a": 1,}').wrong).toMatch(/^line 1, column 9: a text in double quotes/);
    expect(parseJson("{'a': 1}").wrong).toMatch(/^line 1, column 2/);
    expect(parseJson("[1] x").wrong).toMatch(/^line 1, column 5/);
    expect(parseJson(' [1, -2.5e3, "\\u00e9\\n", null, {"a": [true]}] ').value).toEqual([1, -2500, "é\n", null, { a: [true] }]);
  });
  it("takes good schemas and tools", () => {
    expect(checkSchema(exampleSchema).wrong).toBe("");
    expect(checkTools(exampleTools).wrong).toBe("");
  });
  it("names the place in a schema that no validator takes", () => {
    expect(checkSchema('{"properties": {"a": {"type": "text"}}}').wrong).toMatch(/schema\.properties\.a\.type/);
    expect(checkSchema('{"type": "object", "properties": {}, "required": ["b"]}').wrong).toMatch(/"b"/);
    expect(checkTools('[{"type": "function", "function": {"name": "a b"}}]').wrong).toMatch(/tools\[0\]\.function\.name/);
    expect(checkTools('{"type": "function"}').wrong).toMatch(/list/);
  });
});

describe("requests", () => {
  const turns: Turn[] = [
    { role: "user", content: "Weather?" },
    { role: "assistant", content: "", calls: [{ id: "c1", name: "get_weather", arguments: '{"city":"Kiel"}' }] },
  ];
  it("carry system prompt, tools, probabilities and the answer's form", () => {
    const body = chatBody("m", scene({ system: "Be short.", tools: exampleTools, toolChoice: "get_weather", alternatives: 3, output: "json_schema", outputTexts: { json_schema: exampleSchema } }), turns.slice(0, 1));
    expect(body).toMatchObject({ model: "m", temperature: 0.7, max_tokens: 256, logprobs: true, top_logprobs: 3 });
    expect(body["messages"]).toEqual([{ role: "system", content: "Be short." }, { role: "user", content: "Weather?" }]);
    expect(body["tool_choice"]).toEqual({ type: "function", function: { name: "get_weather" } });
    expect(body["response_format"]).toMatchObject({ type: "json_schema" });
    expect(textBody("m", scene({ alternatives: 2 }), "Once")).toMatchObject({ prompt: "Once", logprobs: 2 });
  });
  it("give a call back with its result", () => {
    expect(openCalls(turns).map((call) => call.id)).toEqual(["c1"]);
    const answered: Turn[] = [...turns, { role: "tool", callId: "c1", content: "sun" }];
    expect(openCalls(answered)).toEqual([]);
    const messages = chatBody("m", startScene, answered)["messages"] as Record<string, unknown>[];
    expect(messages[1]).toMatchObject({ role: "assistant", tool_calls: [{ id: "c1", function: { name: "get_weather" } }] });
    expect(messages[2]).toEqual({ role: "tool", tool_call_id: "c1", content: "sun" });
  });
  it("are not sent while something is wrong", () => {
    expect(sceneIsGood(startScene, "chat")).toBe(true);
    expect(sceneIsGood(scene({ settings: { temperature: "9" } }), "chat")).toBe(false);
    expect(sceneIsGood(scene({ tools: "[" }), "chat")).toBe(false);
    expect(sceneIsGood(scene({ tools: "[" }), "text")).toBe(true);
    expect(sceneIsGood(scene({ output: "regex" }), "chat")).toBe(false);
  });
  it("begin anew at an edited message", () => {
    const long: Turn[] = [...turns, { role: "user", content: "And tomorrow?" }];
    expect(cutAtUser(long, 1)).toEqual(turns);
    expect(cutAtUser(long, 0)).toEqual([]);
  });
  it("show a call's arguments by name", () => {
    expect(argumentRows('{"city":"Kiel","days":2}')).toEqual([["city", "Kiel"], ["days", "2"]]);
    expect(argumentRows('{"city":')).toEqual([["", '{"city":']]);
  });
});

describe("code", () => {
  it("of curl quotes for the shell", () => {
    expect(asCurl("http://h", "completions", { prompt: "it's" }, false)).toContain(`"prompt": "it'\\''s"`);
  });
  it("of Python writes Python's constants, and what the client does not know as extra_body", () => {
    expect(asPythonValue({ a: [true, null, 1.5] })).toBe('{"a": [True, None, 1.5]}');
    const text = asPython("http://h", "chat/completions", { model: "m", messages: [], min_p: 0.1, stop: ["x"] }, true);
    expect(text).toContain('extra_body={"min_p": 0.1},');
    expect(text).toContain('    stop=["x"],');
    expect(text).toContain("stream=True");
    expect(asPython("http://h", "completions", { response_format: {} }, false)).toContain("extra_body");
  });
});

describe("a stream", () => {
  it("puts text, calls and tokens together, also a character of several tokens", () => {
    const reader = new AnswerReader();
    reader.take({ choices: [{ delta: { content: "Hi" }, logprobs: { content: [{ token: "Hi", logprob: -0.1, bytes: [72, 105], top_logprobs: [{ token: "Ho", logprob: -3 }] }] } }] });
    reader.take({ choices: [{ logprobs: { content: [{ token: "\ufffd", logprob: -1, bytes: [0xc3] }, { token: "\ufffd", logprob: -1, bytes: [0xa9] }] } }] });
    reader.take({ choices: [{ delta: { tool_calls: [{ index: 0, id: "c", function: { name: "f", arguments: '{"a"' } }] } }] });
    reader.take({ choices: [{ delta: { tool_calls: [{ index: 0, function: { arguments: ":1}" } }] }, finish_reason: "tool_calls" }] });
    reader.take({ choices: [], usage: { prompt_tokens: 4, completion_tokens: 3 } });
    const { answer } = reader;
    expect(answer.text).toBe("Hi");
    expect(answer.tokens.map((one) => one.token)).toEqual(["Hi", "", "é"]);
    expect(answer.tokens[0]?.top).toEqual([{ token: "Ho", logprob: -3 }]);
    expect(answer.calls).toEqual([{ id: "c", name: "f", arguments: '{"a":1}' }]);
    expect(answer).toMatchObject({ finishReason: "tool_calls", promptTokens: 4, completionTokens: 3 });
  });
  it("of several answers keeps them apart, and another one may be taken", () => {
    const reader = new AnswerReader();
    reader.take({ choices: [{ index: 1, delta: { content: "b" } }] });
    reader.take({ choices: [{ index: 0, delta: { content: "a" } }] });
    reader.take({ choices: [{ index: 1, delta: { content: "B" }, finish_reason: "stop" }] });
    expect(reader.answer.text).toBe("a");
    expect(reader.others.map((one) => one.text)).toEqual(["bB"]);
    const turn: Turn = { role: "assistant", content: "a", others: [{ content: "b" }, { content: "c" }] };
    expect(takeOther(turn, 1)).toEqual({ role: "assistant", content: "c", others: [{ content: "b" }, { content: "a" }] });
    expect(readSettings({ n: "0" }, "chat").wrong["n"]).toMatch(/at least/);
  });
  it("of a plain completion brings its probabilities in lists", () => {
    const reader = new AnswerReader();
    reader.take({ choices: [{ text: " a", logprobs: { tokens: [" a"], token_logprobs: [-0.5], top_logprobs: [{ " a": -0.5, " b": -1 }] } }] });
    expect(reader.answer.tokens).toEqual([{ token: " a", logprob: -0.5, top: [{ token: " a", logprob: -0.5 }, { token: " b", logprob: -1 }] }]);
  });
});
