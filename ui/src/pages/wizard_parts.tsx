// The parts of a wizard: its list of steps, the form of one step, the consequences, the review.
import { CheckOutlined, WarningFilled } from "@ant-design/icons";
import { Button, Input } from "antd";
import { useState } from "react";
import { Link } from "react-router-dom";
import { counting, decodeText, type FieldValue, sayParameter } from "@/base/parameters";
import { withAdvice } from "@/base/problem";
import { type FieldViolation } from "@/gen/slipway/v1/error_pb";
import { type PlanRunResponse, type Workflow, type WorkflowParameter } from "@/gen/slipway/v1/workflow_pb";
import { type Draft } from "@/pages/draft";
import { useDatasetOptions, useModelOptions } from "@/pages/pickers";
import { CodeBlock } from "@/widgets/copy";
import { Field } from "@/widgets/field";
import { Section } from "@/widgets/page";
import { ParameterField } from "@/widgets/parameter_field";

export const reviewStep = "review";
type Violations = ReadonlyMap<string, FieldViolation[]>;

interface StepListProps {
  workflow: Workflow;
  current: string;
  visited: string[];
  wrong: ReadonlySet<string>;
  go: (step: string) => void;
}

export function StepList({ workflow, current, visited, wrong, go }: StepListProps) {
  const steps = [...workflow.steps.map(({ name, title }) => ({ name, title })), { name: reviewStep, title: "Review" }];
  return (
    <nav aria-label="Steps">
      <ol className="wizard-steps sticky">
        {steps.map((step, index) => {
          const left = visited.includes(step.name) && step.name !== reviewStep;
          const bad = left && wrong.has(step.name);
          return (
            <li key={step.name}>
              <button type="button" aria-current={step.name === current ? "step" : undefined} onClick={() => go(step.name)}>
                <span className={bad ? "mark bad" : left ? "mark ok" : "mark"} aria-hidden="true">
                  {bad ? "!" : left ? <CheckOutlined /> : index + 1}
                </span>
                {step.title || step.name}
                {bad && <span className="hidden-visually">: something is missing or wrong</span>}
              </button>
            </li>
          );
        })}
      </ol>
    </nav>
  );
}

interface StepFormProps {
  workflow: Workflow;
  step: string;
  values: Record<string, FieldValue>;
  setValue: (name: string, value: FieldValue) => void;
  violations: Violations;
  /** Also say what is missing, not only what is wrong. */
  strict: boolean;
}

export function StepForm({ workflow, step, values, setValue, violations, strict }: StepFormProps) {
  const described = workflow.steps.find((one) => one.name === step);
  const parameters = counting(workflow.parameters, values).filter((one) => one.step === step);
  const plain = parameters.filter((one) => !one.advanced);
  const advanced = parameters.filter((one) => one.advanced);
  const changed = advanced.some((one) => values[one.name] !== undefined && values[one.name] !== null);
  const wrong = advanced.some((one) => violations.has(one.name));
  const [open, setOpen] = useState(false);
  const field = (parameter: WorkflowParameter) => (
    <OneParameter
      key={parameter.name}
      parameter={parameter}
      value={values[parameter.name] ?? null}
      setValue={(value) => setValue(parameter.name, value)}
      violations={violations.get(parameter.name) ?? []}
      strict={strict}
    />
  );
  return (
    <Section title={described?.title || step}>
      <form className="form" onSubmit={(event) => event.preventDefault()}>
        {described?.help && <p className="muted">{described.help}</p>}
        {plain.map(field)}
        {advanced.length > 0 && (
          <details open={open || changed || wrong} onToggle={(event) => setOpen(event.currentTarget.open)}>
            <summary style={{ cursor: "pointer", marginBottom: 12 }}>Advanced</summary>
            <div className="form">{advanced.map(field)}</div>
          </details>
        )}
      </form>
    </Section>
  );
}

interface OneParameterProps {
  parameter: WorkflowParameter;
  value: FieldValue;
  setValue: (value: FieldValue) => void;
  violations: FieldViolation[];
  strict: boolean;
}

function OneParameter({ parameter, value, setValue, violations, strict }: OneParameterProps) {
  const keep = typeof value === "string" ? value : "";
  const models = useModelOptions(parameter.type === "model" ? keep : "");
  const datasets = useDatasetOptions(parameter.type === "dataset" ? keep : "");
  const choice = parameter.type === "model" ? models : parameter.type === "dataset" ? datasets : null;
  const said = strict || value !== null;
  return (
    <ParameterField
      parameter={parameter}
      value={value}
      onChange={setValue}
      wrong={
        said &&
        violations.length > 0 &&
        violations.map((violation, index) => <div key={index}>{withAdvice(violation.message, violation.advice)}</div>)
      }
      options={choice?.options ?? []}
      optionsLoading={choice?.loading ?? false}
      noOptions={
        parameter.type === "model" ? (
          <Link to="/models/import">Import a model first</Link>
        ) : (
          <Link to="/data/import">Import data first</Link>
        )
      }
    />
  );
}

export function Consequences({ plan, stale }: { plan: PlanRunResponse; stale: boolean }) {
  return (
    <div className="stack" style={{ opacity: stale ? 0.6 : 1 }} aria-live="polite">
      {plan.consequences.length === 0 && <span className="muted">Choose a model and data to see.</span>}
      <dl className="facts" style={{ gridTemplateColumns: "minmax(0, 1fr)" }}>
        {plan.consequences.map((one) => (
          <div key={one.label}>
            <dt className="small">{one.label}</dt>
            <dd className={one.level === "warning" ? "tone-warn" : ""}>
              {one.level === "warning" && (
                <>
                  <WarningFilled aria-label="Warning" />{" "}
                </>
              )}
              {one.value}
            </dd>
          </div>
        ))}
      </dl>
      {plan.command && (
        <div className="stack tight">
          <span className="muted small">The same from a terminal</span>
          <CodeBlock text={plan.command} wrap label="Command line" />
        </div>
      )}
    </div>
  );
}

interface ReviewProps {
  workflow: Workflow;
  plan: PlanRunResponse | undefined;
  draft: Draft;
  violations: Violations;
  setName: (name: string) => void;
  go: (step: string) => void;
}

export function Review({ workflow, plan, draft, violations, setName, go }: ReviewProps) {
  const known = new Set(workflow.parameters.map((one) => one.name));
  const others = [...violations.entries()].filter(([name]) => !known.has(name)).flatMap(([, list]) => list);
  const show = (parameter: WorkflowParameter): string => {
    const value = decodeText(plan?.parameters[parameter.name]) ?? draft.values[parameter.name] ?? null;
    return sayParameter(value, parameter);
  };
  return (
    <>
      <Section title="Review">
        <div className="stack">
          {others.length > 0 && (
            <div className="problem">
              <ul>
                {others.map((one, index) => (
                  <li key={index}>
                    <code>{one.field}</code> {withAdvice(one.message, one.advice)}
                  </li>
                ))}
              </ul>
            </div>
          )}
          <Field label="Name of the run" help="Empty: made from the model and the data.">
            <Input value={draft.name} onChange={(event) => setName(event.target.value)} style={{ maxWidth: 400 }} />
          </Field>
          {workflow.steps.map((step) => (
            <div key={step.name} className="stack tight">
              <div className="row">
                <strong>{step.title}</strong>
                <Button type="link" size="small" onClick={() => go(step.name)}>
                  Change
                </Button>
              </div>
              <table className="plain-table">
                <tbody>
                  {counting(workflow.parameters, draft.values)
                    .filter((parameter) => parameter.step === step.name)
                    .map((parameter) => {
                      const own = draft.values[parameter.name] ?? null;
                      const set = own !== null && own !== decodeText(parameter.defaultJson);
                      return (
                        <tr key={parameter.name}>
                          <th scope="row" style={{ fontWeight: 400, width: "45%" }}>
                            {parameter.label || parameter.name}
                          </th>
                          <td>
                            {set ? <strong>{show(parameter)}</strong> : <span className="muted">{show(parameter)}</span>}
                            {violations.get(parameter.name)?.map((violation, index) => (
                              <div key={index} className="tone-bad">
                                {withAdvice(violation.message, violation.advice)}
                              </div>
                            ))}
                          </td>
                        </tr>
                      );
                    })}
                </tbody>
              </table>
            </div>
          ))}
          <span className="muted small">Bold: set by you. The rest are defaults.</span>
        </div>
      </Section>
      {plan?.command && (
        <Section title="The same from a terminal">
          <CodeBlock text={plan.command} wrap label="Command line" />
        </Section>
      )}
    </>
  );
}
