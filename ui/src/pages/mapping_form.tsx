// Which column plays which part: the format, and a column for each of its roles.
import { Select } from "antd";
import { Field } from "@/widgets/field";

interface Format {
  value: string;
  label: string;
  roles: { role: string; label: string; optional?: boolean }[];
}

// Formats and roles of ColumnMapping in dataset.proto.
const formats: Format[] = [
  { value: "messages", label: "Messages: a list of role and content", roles: [{ role: "messages", label: "Messages" }] },
  {
    value: "prompt_completion",
    label: "Prompt and completion",
    roles: [
      { role: "prompt", label: "Prompt" },
      { role: "completion", label: "Completion" },
      { role: "system", label: "System prompt", optional: true },
    ],
  },
  {
    value: "alpaca",
    label: "Alpaca: instruction, input, output",
    roles: [
      { role: "instruction", label: "Instruction" },
      { role: "input", label: "Input", optional: true },
      { role: "output", label: "Output" },
    ],
  },
  { value: "sharegpt", label: "ShareGPT: conversations", roles: [{ role: "conversations", label: "Conversations" }] },
  { value: "text", label: "Plain text", roles: [{ role: "text", label: "Text" }] },
];

export const roleNames = [...new Set(formats.flatMap((format) => format.roles.map((one) => one.role)))];

interface MappingFormProps {
  columns: readonly string[];
  /** What is used now: the choice, completed by the server's guess. */
  used: { format: string; roles: Record<string, string> };
  chooseFormat: (format: string) => void;
  chooseRole: (role: string, column: string) => void;
}

export function MappingForm({ columns, used, chooseFormat, chooseRole }: MappingFormProps) {
  const format = formats.find((one) => one.value === used.format);
  return (
    <div className="stack">
      <Field label="Format" help="How one row holds its example. Guessed from the first rows.">
        <Select
          value={used.format || null}
          placeholder="Choose a format"
          onChange={chooseFormat}
          options={formats.map(({ value, label }) => ({ value, label }))}
        />
      </Field>
      {format?.roles.map(({ role, label, optional }) => (
        <Field
          key={role}
          label={
            <>
              {label} {optional && <span className="muted">(optional)</span>}
            </>
          }
        >
          <Select
            allowClear={optional ?? false}
            value={used.roles[role] || null}
            placeholder={optional ? "None" : "Choose a column"}
            onChange={(column: string | undefined) => chooseRole(role, column ?? "")}
            options={columns.map((column) => ({ value: column, label: column }))}
          />
        </Field>
      ))}
    </div>
  );
}
