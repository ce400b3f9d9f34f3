// The small pure helpers: ANSI, curves, graph layout, parameters, ranking, event streams.
import { describe, expect, it } from "vitest";
import { parseAnsi, stripAnsi } from "@/base/ansi";
import { fuzzyScore, rank } from "@/base/fuzzy";
import { layOut, withoutImplied } from "@/base/graph_layout";
import { counting, decodeText, encodeAll, parameterOfField, sayParameter, sayValue } from "@/base/parameters";
import { meanRate, type Point, smooth, thin, toCsv, upsertPoint } from "@/base/series";
import { SseParser } from "@/base/sse";
import { warningsOf } from "@/base/warnings";

describe("ANSI", () => {
  it("cuts a line by its colours", () => {
    expect(parseAnsi("a \u001b[1;31mred\u001b[0m b")).toEqual([
      { text: "a " },
      { text: "red", bold: true, color: 1 },
      { text: " b" },
    ]);
  });
  it("drops what is not a colour", () => expect(stripAnsi("\u001b[2K\u001b[1Gdone\u001b[38;5;200m!")).toBe("done!"));
});

describe("curves", () => {
  it("stay sorted, and a step said again replaces its point", () => {
    const points: Point[] = [];
    for (const [x, y] of [[1, 5], [3, 4], [2, 6], [3, 1]] as const) upsertPoint(points, x, y);
    expect(points).toEqual([[1, 5], [2, 6], [3, 1]]);
  });
  it("smooth without a bias to zero, and leave gaps", () => {
    const flat: Point[] = [[1, 2], [2, 2], [3, Number.NaN], [4, 2]];
    const smoothed = smooth(flat, 0.9);
    expect(smoothed[0]![1]).toBeCloseTo(2);
    expect(smoothed[2]![1]).toBeNaN();
    expect(smoothed[3]![1]).toBeCloseTo(2);
  });
  it("thin to a bound and keep the last", () => {
    const thinned = thin(Array.from({ length: 1001 }, (_, index) => index), 100);
    expect(thinned.length).toBeLessThanOrEqual(101);
    expect(thinned[thinned.length - 1]).toBe(1000);
  });
  it("write CSV with gaps and quotes", () => {
    expect(toCsv("Step", [{ name: "a,b", points: [[1, 2]] }, { name: "c", points: [[2, 3]] }])).toBe(
      'Step,"a,b",c\n1,2,\n2,,3\n',
    );
  });

  it("have a mean rate over all that was counted", () => {
    // 100 tokens in 1 s, 300 in 1 s; a step without a total is left out.
    expect(meanRate([[1, 100], [2, 300], [3, 5]], [[1, 100], [2, 400]])).toBe(200);
    expect(meanRate([[1, 0]], [[1, 100]])).toBeUndefined();
    expect(meanRate([], [])).toBeUndefined();
  });
});

describe("graph layout", () => {
  it("puts each node after all that it needs", () => {
    const placed = new Map(
      layOut(["a", "b", "c", "d"], [
        { from: "a", to: "b" },
        { from: "a", to: "c" },
        { from: "b", to: "d" },
        { from: "c", to: "d" },
        { from: "a", to: "d" },
      ]).map((one) => [one.id, one]),
    );
    expect([placed.get("a")!.layer, placed.get("b")!.layer, placed.get("d")!.layer]).toEqual([0, 1, 2]);
    expect(new Set([placed.get("b")!.row, placed.get("c")!.row]).size).toBe(2);
  });
  it("leaves out edges that a longer way implies", () => {
    const edges = [{ from: "a", to: "b" }, { from: "b", to: "c" }, { from: "a", to: "c" }, { from: "a", to: "d" }];
    expect(withoutImplied(edges).map(({ from, to }) => from + to)).toEqual(["ab", "bc", "ad"]);
  });
  it("ends on cycles and unknown ids", () => {
    expect(layOut(["a", "b"], [{ from: "a", to: "b" }, { from: "b", to: "a" }, { from: "x", to: "a" }])).toHaveLength(2);
  });
});

describe("parameters", () => {
  it("travel as JSON texts, and nothing travels not at all", () => {
    expect(encodeAll({ b: 3, a: "cosine", c: null, d: "", e: false })).toEqual({ a: '"cosine"', b: "3", e: "false" });
    expect(decodeText('"cosine"')).toBe("cosine");
    expect(decodeText("perlfaq@1")).toBe("perlfaq@1");
    expect(decodeText("")).toBeNull();
  });
  it("count while their conditions hold, given or by default", () => {
    const parameters = [
      { name: "method", defaultJson: '"lora"', conditions: [] },
      { name: "r", defaultJson: "16", conditions: [{ parameter: "method", values: ["lora", "dora"] }] },
      { name: "deploy", defaultJson: "true", conditions: [{ parameter: "method", values: ["lora"] }] },
      { name: "dtype", defaultJson: "", conditions: [{ parameter: "deploy", values: ["true"] }] },
    ];
    const names = (values: Record<string, string | boolean>) => counting(parameters, values).map((one) => one.name);
    expect(names({})).toEqual(["method", "r", "deploy", "dtype"]);
    expect(names({ deploy: false })).toEqual(["method", "r", "deploy"]);
    expect(names({ method: "dora", deploy: true })).toEqual(["method", "r"]);
    expect(names({ method: "prompt_tuning" })).toEqual(["method"]);
  });
  it("are found in violations", () => {
    expect(parameterOfField("parameters.learning_rate")).toBe("learning_rate");
    expect(parameterOfField("name")).toBe("");
  });
});

describe("warnings", () => {
  it("are told once by code, the latest first", () => {
    const said = (code: string, message: string) => ({ json: JSON.stringify({ type: "warning", code, message, advice: "a" }) });
    const [first, second, ...rest] = warningsOf([said("RANK_LOST", "rank 1"), said("NO_SIGNAL", "x"), { json: "{" }, said("RANK_LOST", "rank 0")]);
    expect([first?.code, first?.message, first?.count]).toEqual(["RANK_LOST", "rank 0", 2]);
    expect([second?.code, rest.length]).toEqual(["NO_SIGNAL", 0]);
  });
});

describe("ranking", () => {
  it("wants all letters in order and prefers starts of words", () => {
    expect(fuzzyScore("dpl", "Models")).toBe(Number.NEGATIVE_INFINITY);
    expect(rank("dep", ["Add a pipeline", "Deployments"], (one) => one)[0]).toBe("Deployments");
  });
});

describe("event streams", () => {
  it("are cut into events wherever the chunks break", () => {
    const parser = new SseParser();
    expect(parser.feed('data: {"a":1}\n')).toEqual([]);
    expect(parser.feed("\ndata: x\r\n\r\n: comment\n\nda")).toEqual(['{"a":1}', "x"]);
    expect(parser.feed("ta: y\n\n")).toEqual(["y"]);
  });
});

describe("said values", () => {
  it("are written for people", () => {
    expect([sayValue(20000), sayValue(0.0003), sayValue(false), sayValue("cosine"), sayValue(null)]).toEqual([
      "20,000",
      "0.0003",
      "No",
      "cosine",
      "–",
    ]);
  });

  it("names a choice and gives a value its unit", () => {
    const optimizer = { choices: [{ value: "adamw8bit", label: "AdamW, 8 bit" }], unit: "" };
    expect(sayParameter("adamw8bit", optimizer)).toBe("AdamW, 8 bit");
    expect(sayParameter(1, { choices: [], unit: "processes" })).toBe("1 process");
    expect(sayParameter(true, undefined)).toBe("Yes");
  });
});
