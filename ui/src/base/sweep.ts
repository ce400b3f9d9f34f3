// What a sweep varies, as it is typed: values or a range per parameter. The sweep's panel and its request use it.
import { encodeValue } from "@/base/parameters";

export interface TypedAxis {
  parameter: string;
  /** "1e-4, 3e-4", or a range "1e-5 .. 1e-3". */
  text: string;
}
export interface Axis {
  parameter: string;
  values: string[];
  minimum?: number;
  maximum?: number;
  logarithmic: boolean;
}
export interface ReadAxis {
  axis: Axis;
  wrong: string;
}

const range = /^\s*([-+\d.eE]+)\s*\.\.\s*([-+\d.eE]+)\s*$/;

/** A range of more than two orders of magnitude is drawn by order of magnitude. */
export function readAxis(typed: TypedAxis, type: string, random: boolean): ReadAxis {
  const axis: Axis = { parameter: typed.parameter, values: [], logarithmic: false };
  const fail = (wrong: string): ReadAxis => ({ axis, wrong });
  const numeric = type === "integer" || type === "number";
  const ends = range.exec(typed.text);
  if (ends) {
    const [minimum, maximum] = [Number(ends[1]), Number(ends[2])];
    if (!random) return fail("a range is for runs that are drawn at random");
    if (!numeric) return fail("a range is for numbers");
    if (!(minimum < maximum)) return fail("the smaller number comes first");
    return { axis: { ...axis, minimum, maximum, logarithmic: minimum > 0 && maximum / minimum > 100 }, wrong: "" };
  }
  const texts = typed.text.split(",").map((one) => one.trim()).filter(Boolean);
  if (texts.length === 0) return fail(random && numeric ? "give values, or a range as 1e-5 .. 1e-3" : "give values, with commas between");
  const bad = numeric ? texts.find((one) => !Number.isFinite(Number(one))) : undefined;
  if (bad !== undefined) return fail(`'${bad}' is no number`);
  const value = (text: string) => (numeric ? Number(text) : type === "boolean" ? text === "true" || text === "yes" : text);
  return { axis: { ...axis, values: texts.map((text) => encodeValue(value(text)) ?? "null") }, wrong: "" };
}

/** How many runs it is. */
export function countRuns(axes: readonly Axis[], randomRuns: number): number {
  return randomRuns > 0 ? randomRuns : axes.reduce((product, axis) => product * axis.values.length, axes.length > 0 ? 1 : 0);
}
