// The fields of how a deployment serves. Number formats first, with what the chosen one costs and gives; limits folded away.
import { InputNumber, Select } from "antd";
import { formatBytes } from "@/base/format";
import { cacheTypes, type Serving, type ServingChoice, servingLimits, weightBytes, weightTypes } from "@/base/serving";
import { Field } from "@/widgets/field";

interface ServingFieldsProps {
  value: Serving;
  onChange: (value: Serving) => void;
  /** Of the model, for the memory that its weights take; 0: not known. */
  parameters: number;
  /** The file is quantised already: its weights are served as they are. */
  quantised: string;
}

export function ServingFields({ value, onChange, parameters, quantised }: ServingFieldsProps) {
  const bytes = weightBytes(parameters, quantised || value.dtype);
  const limited = servingLimits.some(({ name }) => value[name] !== undefined);
  return (
    <>
      {quantised ? (
        <Field label="Weights" help={`The file is quantised: it is served as ${quantised}${bytes ? `, about ${formatBytes(bytes)}` : ""}.`}>
          <Select disabled value={quantised} options={[{ value: quantised, label: quantised }]} />
        </Field>
      ) : (
        <Field label="Weights" help={`${helpOf(weightTypes, value.dtype)}${bytes ? ` About ${formatBytes(bytes)} here.` : ""}`}>
          <Select value={value.dtype} onChange={(dtype: string) => onChange({ ...value, dtype })} options={optionsOf(weightTypes)} />
        </Field>
      )}
      <Field label="KV cache" help={helpOf(cacheTypes, value.kvCacheDtype)}>
        <Select value={value.kvCacheDtype} onChange={(kvCacheDtype: string) => onChange({ ...value, kvCacheDtype })} options={optionsOf(cacheTypes)} />
      </Field>
      <details open={limited || undefined}>
        <summary style={{ cursor: "pointer", marginBottom: 12 }}>Limits</summary>
        <div className="form">
          {servingLimits.map((limit) => (
            <Field key={limit.name} label={limit.label} help={`${limit.help} (else ${limit.otherwise})`}>
              <InputNumber<number>
                min={1}
                max={limit.most}
                precision={0}
                value={value[limit.name] ?? null}
                placeholder={limit.otherwise}
                onChange={(next) => {
                  const changed = { ...value };
                  if (next === null) delete changed[limit.name];
                  else changed[limit.name] = next;
                  onChange(changed);
                }}
                changeOnWheel={false}
                style={{ width: "100%" }}
                {...(limit.unit ? { addonAfter: limit.unit } : {})}
              />
            </Field>
          ))}
        </div>
      </details>
    </>
  );
}

const helpOf = (choices: readonly ServingChoice[], value: string) => choices.find((one) => one.value === value)?.help ?? "";
const optionsOf = (choices: readonly ServingChoice[]) => choices.map(({ value, label }) => ({ value, label }));
