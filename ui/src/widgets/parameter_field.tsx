// One field of a wizard's form, made from the workflow's description of the parameter alone.
import { Input, InputNumber, Select, Switch } from "antd";
import { type ReactNode } from "react";
import { formatCount, formatNumber } from "@/base/format";
import { decodeText, type FieldValue } from "@/base/parameters";
import { type WorkflowParameter } from "@/gen/slipway/v1/workflow_pb";
import { Field } from "@/widgets/field";

export interface Option {
  value: string;
  label: string;
  /** Said beside it: family and size, number of rows. */
  note: string;
}

interface ParameterFieldProps {
  parameter: WorkflowParameter;
  value: FieldValue;
  onChange: (value: FieldValue) => void;
  wrong?: ReactNode;
  /** Of the types model and dataset. */
  options?: Option[];
  optionsLoading?: boolean;
  /** Said when there is nothing to choose: how to get something. */
  noOptions?: ReactNode;
}

export function ParameterField(props: ParameterFieldProps) {
  const { parameter, value, onChange, wrong } = props;
  const otherwise = decodeText(parameter.defaultJson);
  return (
    <Field
      label={
        <>
          {parameter.label || parameter.name}
          {!parameter.required && parameter.defaultJson === "" && <span className="muted"> (optional)</span>}
        </>
      }
      help={<HelpText parameter={parameter} value={value ?? otherwise} otherwise={otherwise} />}
      wrong={wrong}
    >
      {input(props, value ?? otherwise, onChange)}
    </Field>
  );
}

function HelpText({ parameter, value, otherwise }: { parameter: WorkflowParameter; value: FieldValue; otherwise: FieldValue }) {
  const facts: string[] = [];
  const say = (value: number) => (Number.isInteger(value) ? formatCount(value) : formatNumber(value, 6));
  const { minimum, maximum } = parameter;
  if (minimum !== undefined && maximum !== undefined) facts.push(`${say(minimum)} to ${say(maximum)}`);
  else if (minimum !== undefined) facts.push(`at least ${say(minimum)}`);
  else if (maximum !== undefined) facts.push(`at most ${say(maximum)}`);
  if (typeof otherwise === "number") facts.push(`default ${say(otherwise)}`);
  const chosen = parameter.choices.find((choice) => choice.value === value);
  return (
    <>
      {parameter.help} {chosen?.help && <span>{`${chosen.label || chosen.value}: ${chosen.help} `}</span>}
      {facts.length > 0 && <span className="num">({facts.join(", ")})</span>}
    </>
  );
}

function input(props: ParameterFieldProps, value: FieldValue, onChange: (value: FieldValue) => void) {
  const { parameter } = props;
  switch (parameter.type) {
    case "integer":
    case "number":
      // Text, so that half-typed numbers (1e-) live; the server says what is wrong with them.
      return (
        <InputNumber<string | number>
          value={typeof value === "number" || typeof value === "string" ? value : null}
          onChange={(next) => onChange(next === null || next === "" ? null : next)}
          style={{ width: 220 }}
          keyboard
          changeOnWheel={false}
          {...(parameter.type === "integer" ? { precision: 0, step: 1 } : { step: stepOf(value) })}
          {...(parameter.unit ? { addonAfter: parameter.unit } : {})}
        />
      );
    case "boolean":
      return <Switch checked={value === true} onChange={onChange} style={{ alignSelf: "flex-start" }} />;
    case "choice":
      return (
        <Select
          value={value === null ? null : String(value)}
          onChange={(next: string) => onChange(next)}
          style={{ width: "100%" }}
          options={parameter.choices.map((choice) => ({
            value: choice.value,
            label: choice.label || choice.value,
            title: choice.help,
          }))}
        />
      );
    case "model":
    case "dataset":
      return (
        <Select
          showSearch
          optionFilterProp="label"
          loading={props.optionsLoading ?? false}
          value={value === null ? null : String(value)}
          onChange={(next: string) => onChange(next)}
          placeholder={`Choose a ${parameter.type}`}
          style={{ width: "100%" }}
          notFoundContent={props.noOptions}
          options={(props.options ?? []).map(({ value: id, label, note }) => ({ value: id, label, note }))}
          optionRender={(option) => (
            <div className="row spread nowrap">
              <span className="cut">{option.label}</span>
              <span className="muted small">{(option.data as unknown as Option).note}</span>
            </div>
          )}
        />
      );
    default:
      return <Input value={value === null ? "" : String(value)} onChange={(event) => onChange(event.target.value)} />;
  }
}

/** A step of the arrow keys that suits the size of the number: that of its leading digit. */
function stepOf(value: FieldValue): number {
  const size = Math.abs(Number(value)) || 1;
  return Number((10 ** Math.floor(Math.log10(size))).toPrecision(1));
}
