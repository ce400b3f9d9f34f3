import { describe, expect, it } from "vitest";
import { formatBytes, formatCount, formatDone, formatDuration, formatNumber, formatParameters, formatRelative, plural, toMillis, withUnit } from "@/base/format";

describe("numbers", () => {
  it("separate thousands", () => expect(formatCount(1234567n)).toBe("1,234,567"));
  it("keep significant digits and turn to powers when tiny", () => {
    expect(formatNumber(2.1134567)).toBe("2.113");
    expect(formatNumber(0.0002)).toBe("0.0002");
    expect(formatNumber(0.0000213)).toBe("2.13e-5");
    expect(formatNumber(Number.NaN)).toBe("–");
  });
  it("say parameter counts as people do", () => {
    expect(formatParameters(134515008n)).toBe("135 M");
    expect(formatParameters(950)).toBe("950");
  });
  it("say bytes in binary units", () => {
    expect(formatBytes(0)).toBe("0 B");
    expect(formatBytes(96_600_000n)).toBe("92.1 MiB");
    expect(formatBytes(1024 ** 4)).toBe("1 TiB");
  });
  it("agree in number", () => {
    expect(plural(1n, "row")).toBe("1 row");
    expect(plural(2, "row")).toBe("2 rows");
    expect(withUnit("1", "processes")).toBe("1 process");
    expect(withUnit("1", "steps")).toBe("1 step");
    expect(withUnit("512", "tokens")).toBe("512 tokens");
    expect(withUnit("auto", "")).toBe("auto");
    expect(formatDone(46n, 1000n, "step")).toBe("46 / 1,000 steps");
    expect(formatDone(3n, 0n, "rows")).toBe("3 rows");
  });
});

describe("times", () => {
  it("say durations by their two largest parts", () => {
    expect(formatDuration(0.45)).toBe("450 ms");
    expect(formatDuration(192)).toBe("3 m 12 s");
    expect(formatDuration(120)).toBe("2 m");
    expect(formatDuration(7500)).toBe("2 h 5 m");
    expect(formatDuration(-1)).toBe("–");
  });
  it("say how long ago", () => {
    expect(formatRelative(1_000_000, 1_002_000)).toBe("just now");
    expect(formatRelative(1_000_000, 1_090_000)).toBe("1 m ago");
    expect(formatRelative(1_090_000, 1_000_000)).toBe("in 1 m");
  });
  it("read protobuf timestamps", () => expect(toMillis({ seconds: 12n, nanos: 500_000_000 })).toBe(12_500));
});
