// Sweeps as they are typed, and what differs between runs.
import { describe, expect, it } from "vitest";
import { differing, endingOf } from "@/base/compare";
import { countRuns, readAxis } from "@/base/sweep";

describe("an axis", () => {
  it("holds values as the API takes them", () => {
    expect(readAxis({ parameter: "rate", text: "1e-4, 3e-4" }, "number", false)).toEqual({
      axis: { parameter: "rate", values: ["0.0001", "0.0003"], logarithmic: false },
      wrong: "",
    });
    expect(readAxis({ parameter: "optim", text: "lion, adamw" }, "choice", false).axis.values).toEqual(['"lion"', '"adamw"']);
    expect(readAxis({ parameter: "packing", text: "true,false" }, "boolean", true).axis.values).toEqual(["true", "false"]);
  });
  it("is a range at random, by order of magnitude when it is wide", () => {
    expect(readAxis({ parameter: "rate", text: "1e-5 .. 1e-2" }, "number", true).axis).toMatchObject({ minimum: 1e-5, maximum: 1e-2, logarithmic: true });
    expect(readAxis({ parameter: "r", text: "4..64" }, "integer", true).axis).toMatchObject({ minimum: 4, maximum: 64, logarithmic: false });
    expect(readAxis({ parameter: "r", text: "4..64" }, "integer", false).wrong).toMatch(/at random/);
    expect(readAxis({ parameter: "r", text: "64..4" }, "integer", true).wrong).not.toBe("");
    expect(readAxis({ parameter: "r", text: "four" }, "integer", false).wrong).toMatch(/no number/);
    expect(readAxis({ parameter: "r", text: " " }, "integer", false).wrong).not.toBe("");
  });
  it("counts the runs", () => {
    const axes = [readAxis({ parameter: "a", text: "1,2,3" }, "integer", false).axis, readAxis({ parameter: "b", text: "1,2" }, "integer", false).axis];
    expect(countRuns(axes, 0)).toBe(6);
    expect(countRuns(axes, 20)).toBe(20);
    expect(countRuns([], 0)).toBe(0);
  });
});

describe("runs", () => {
  it("differ where their texts do", () => {
    expect(differing([{ a: "1", b: "2" }, { a: "1", b: "3", c: "x" }], ["b", "a"])).toEqual(["b", "c"]);
    expect(differing([{ a: "1" }], ["a"])).toEqual([]);
  });
  it("end where their curves do", () => {
    expect(endingOf([[1, 3], [2, 1], [3, Number.NaN], [4, 2]])).toEqual({ last: 2, least: 1 });
    expect(endingOf([])).toEqual({});
  });
});
