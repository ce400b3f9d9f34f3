// The wizard's sweep: instead of one run several whose parameters differ, on a grid or drawn at random.
import { DeleteOutlined, PlusOutlined } from "@ant-design/icons";
import { Button, Input, InputNumber, Segmented, Select } from "antd";
import { useState } from "react";
import { useNavigate } from "react-router-dom";
import { clients } from "@/api/clients";
import { toProblem } from "@/api/problems";
import { plural } from "@/base/format";
import { counting, type FieldValue, type ParameterTexts } from "@/base/parameters";
import { type Problem } from "@/base/problem";
import { countRuns, readAxis, type TypedAxis } from "@/base/sweep";
import { type Workflow } from "@/gen/slipway/v1/workflow_pb";
import { ProblemBox } from "@/widgets/feedback";
import { Field } from "@/widgets/field";
import { Section } from "@/widgets/page";

export interface SweepDraft {
  random: boolean;
  runs: number;
  axes: TypedAxis[];
}
export const startSweep: SweepDraft = { random: false, runs: 10, axes: [] };

interface SweepPanelProps {
  workflow: Workflow;
  name: string;
  values: Record<string, FieldValue>;
  texts: ParameterTexts;
  idempotencyKey: string;
  draft: SweepDraft;
  change: (draft: SweepDraft) => void;
  /** The common values are good. */
  good: boolean;
  started: () => void;
}

export function SweepPanel({ workflow, name, values, texts, idempotencyKey, draft, change, good, started }: SweepPanelProps) {
  const navigate = useNavigate();
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem | null>(null);
  const typeOf = (parameter: string) => workflow.parameters.find((one) => one.name === parameter)?.type ?? "";
  const read = draft.axes.map((axis) => readAxis(axis, typeOf(axis.parameter), draft.random));
  const count = countRuns(read.map((one) => one.axis), draft.random ? draft.runs : 0);
  const can = good && draft.axes.length > 0 && read.every((one) => one.wrong === "") && count > 0 && count <= 500;
  const setAxis = (index: number, axis: TypedAxis) => change({ ...draft, axes: draft.axes.map((one, at) => (at === index ? axis : one)) });
  const varied = new Set(draft.axes.map((axis) => axis.parameter));
  // Those that count as things stand, or may in some of the runs.
  const counts = new Set(counting(workflow.parameters, values).map((one) => one.name));
  const free = workflow.parameters.filter(
    (one) => !varied.has(one.name) && (counts.has(one.name) || one.conditions.some((condition) => varied.has(condition.parameter))),
  );
  const start = async () => {
    setBusy(true);
    setProblem(null);
    try {
      const sweep = await clients.runs.startSweep({
        workflow: workflow.name,
        name,
        parameters: texts,
        axes: read.map((one) => one.axis),
        randomRuns: draft.random ? draft.runs : 0,
        seed: BigInt(Math.floor(Math.random() * 2 ** 31)),
        idempotencyKey: `sweep-${idempotencyKey}`,
      });
      started();
      navigate(`/train/compare?sweep=${sweep.sweepId}`);
    } catch (error) {
      setProblem(toProblem(error));
      setBusy(false);
    }
  };
  return (
    <Section title="Sweep: several runs at once">
      <div className="stack">
        <div className="row">
          <Segmented
            aria-label="Kind of sweep"
            value={draft.random ? "random" : "grid"}
            onChange={(next) => change({ ...draft, random: next === "random" })}
            options={[
              { value: "grid", label: "Every combination" },
              { value: "random", label: "Drawn at random" },
            ]}
          />
          {draft.random && (
            <label className="row">
              Runs
              <InputNumber min={1} max={500} precision={0} value={draft.runs} onChange={(runs) => change({ ...draft, runs: runs ?? 1 })} />
            </label>
          )}
        </div>
        {draft.axes.map((axis, index) => (
          <div key={axis.parameter} className="row nowrap" style={{ alignItems: "flex-start" }}>
            <div className="grow">
              <Field
                label={workflow.parameters.find((one) => one.name === axis.parameter)?.label || axis.parameter}
                help={helpOf(typeOf(axis.parameter), draft.random, workflow, axis.parameter)}
                wrong={read[index]?.wrong}
              >
                <Input className="mono" value={axis.text} onChange={(event) => setAxis(index, { ...axis, text: event.target.value })} />
              </Field>
            </div>
            <Button
              aria-label={`Leave ${axis.parameter} as it is`}
              icon={<DeleteOutlined />}
              style={{ marginTop: 24 }}
              onClick={() => change({ ...draft, axes: draft.axes.filter((one) => one !== axis) })}
            />
          </div>
        ))}
        <Select
          aria-label="Vary another parameter"
          showSearch
          optionFilterProp="label"
          value={null}
          placeholder={
            <>
              <PlusOutlined /> Vary a parameter
            </>
          }
          onChange={(parameter: string | null) => parameter && change({ ...draft, axes: [...draft.axes, { parameter, text: "" }] })}
          options={free.map((one) => ({ value: one.name, label: one.label || one.name }))}
          style={{ maxWidth: 320 }}
        />
        {problem && <ProblemBox title="The sweep was not started" problem={problem} />}
        <div className="row">
          <Button loading={busy} disabled={!can} onClick={() => void start()}>
            {count > 0 ? `Start ${plural(count, "run")}` : "Start the sweep"}
          </Button>
          <span className="muted small">{count > 500 ? "A sweep has at most 500 runs." : "They wait for each other where there is one device."}</span>
        </div>
      </div>
    </Section>
  );
}

function helpOf(type: string, random: boolean, workflow: Workflow, parameter: string): string {
  const choices = workflow.parameters.find((one) => one.name === parameter)?.choices.map((one) => one.value) ?? [];
  if (choices.length > 0) return `Of ${choices.join(", ")}; with commas between.`;
  if (type === "boolean") return "true, false";
  return random && (type === "integer" || type === "number") ? "Values with commas between, or a range: 1e-5 .. 1e-3." : "Values with commas between.";
}
