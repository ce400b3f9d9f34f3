// The right side of the playground: sampling parameters, form of the answer, tools, token probabilities.
import { Checkbox, Input, InputNumber, Select } from "antd";
import { type Mode, readSettings, type SettingPlan, settingPlans, type Settings } from "@/base/sampling";
import { exampleSchema, exampleTools, type OutputKind, readOutput, readTools, type Scene } from "@/base/talk";
import { Field } from "@/widgets/field";
import { CheckedText } from "@/widgets/json_editor";
import { Section } from "@/widgets/page";

interface SettingsProps {
  scene: Scene;
  mode: Mode;
  change: (part: Partial<Scene>) => void;
}

export function PlaygroundSettings({ scene, mode, change }: SettingsProps) {
  const { wrong } = readSettings(scene.settings, mode);
  const set = (name: string, value: string | boolean | undefined) => change({ settings: { ...scene.settings, [name]: value } });
  const field = (plan: SettingPlan) => (
    <SettingField key={plan.name} plan={plan} settings={scene.settings} wrong={wrong[plan.name] ?? ""} set={(value) => set(plan.name, value)} />
  );
  const shown = settingPlans.filter((plan) => !plan.only || plan.only === mode);
  const folded = shown.filter((plan) => plan.advanced);
  const changed = folded.some((plan) => scene.settings[plan.name] !== undefined && scene.settings[plan.name] !== "");
  return (
    <>
      <Section title="Sampling">
        <div className="form">
          {shown.filter((plan) => !plan.advanced).map(field)}
          <details open={changed || undefined}>
            <summary style={{ cursor: "pointer", marginBottom: 12 }}>More</summary>
            <div className="form">{folded.map(field)}</div>
          </details>
        </div>
      </Section>
      <Section title="Token probabilities">
        <div className="stack">
          <Checkbox checked={scene.alternatives > 0} onChange={(event) => change({ alternatives: event.target.checked ? 5 : 0 })}>
            Show how likely each token was
          </Checkbox>
          {scene.alternatives > 0 && (
            <Field label="Alternatives" help="Shown for a token under the pointer; 1 to 20.">
              <InputNumber min={1} max={20} precision={0} value={scene.alternatives} onChange={(value) => change({ alternatives: value ?? 1 })} />
            </Field>
          )}
        </div>
      </Section>
      <AnswerForm scene={scene} change={change} />
      {mode === "chat" && <Tools scene={scene} change={change} />}
    </>
  );
}

interface SettingFieldProps {
  plan: SettingPlan;
  settings: Settings;
  wrong: string;
  set: (value: string | boolean | undefined) => void;
}

function SettingField({ plan, settings, wrong, set }: SettingFieldProps) {
  const value = settings[plan.name];
  const range = plan.minimum !== undefined && plan.maximum !== undefined && plan.maximum < 1e6 ? `${plan.minimum} to ${plan.maximum}, ` : "";
  const help = `${plan.help} (${range}else ${plan.otherwise})`;
  if (plan.type === "boolean") {
    return (
      <Field label={plan.label} help={help}>
        <Select
          value={value === undefined || value === "" ? "" : String(value)}
          onChange={(next) => set(next === "" ? undefined : next === "true")}
          options={[
            { value: "", label: `Not given (${plan.otherwise})` },
            { value: "true", label: "On" },
            { value: "false", label: "Off" },
          ]}
        />
      </Field>
    );
  }
  const text = typeof value === "string" ? value : "";
  if (plan.type === "texts" || plan.type === "biases") {
    return (
      <Field label={plan.label} help={help} wrong={wrong}>
        <Input.TextArea className="mono" autoSize={{ minRows: 1, maxRows: 5 }} value={text} onChange={(event) => set(event.target.value)} />
      </Field>
    );
  }
  return (
    <Field label={plan.label} help={help} wrong={wrong}>
      <InputNumber<string>
        stringMode
        value={text === "" ? null : text}
        placeholder={plan.otherwise}
        onChange={(next) => set(next === null ? undefined : String(next))}
        step={String(plan.step ?? 1)}
        changeOnWheel={false}
        style={{ width: "100%" }}
      />
    </Field>
  );
}

const outputs: { value: OutputKind; label: string; help: string }[] = [
  { value: "text", label: "Free text", help: "" },
  { value: "json_object", label: "A JSON object", help: "" },
  { value: "json_schema", label: "JSON by a schema", help: "Sent as response_format." },
  { value: "regex", label: "A regular expression", help: "Sent as guided_regex." },
  { value: "choice", label: "One of several texts", help: "One per line, sent as guided_choice." },
  { value: "grammar", label: "A grammar (EBNF)", help: "In GBNF's notation, sent as guided_grammar." },
];
const placeholders: Partial<Record<OutputKind, string>> = {
  regex: "[0-9]{4}-[0-9]{2}-[0-9]{2}",
  choice: "yes\nno",
  grammar: 'root ::= "yes" | "no"',
};

function AnswerForm({ scene, change }: Omit<SettingsProps, "mode">) {
  const { output } = scene;
  const { wrong } = readOutput(scene);
  const text = scene.outputTexts[output] ?? "";
  const plan = outputs.find((one) => one.value === output);
  const typed = output !== "text" && output !== "json_object";
  return (
    <Section title="Form of the answer">
      <div className="form">
        <Field label="The answer must be" help={plan?.help}>
          <Select value={output} onChange={(next: OutputKind) => change({ output: next })} options={outputs.map(({ value, label }) => ({ value, label }))} />
        </Field>
        {typed && (
          <CheckedText
            label={output === "json_schema" ? "JSON Schema" : (plan?.label ?? "")}
            value={text}
            onChange={(next) => change({ outputTexts: { ...scene.outputTexts, [output]: next } })}
            wrong={wrong}
            good={output === "json_schema" ? "A good schema" : "Checked by the server when it is sent"}
            json={output === "json_schema"}
            {...(output === "json_schema" ? { example: exampleSchema } : {})}
            {...(placeholders[output] ? { placeholder: placeholders[output] } : {})}
          />
        )}
      </div>
    </Section>
  );
}

function Tools({ scene, change }: Omit<SettingsProps, "mode">) {
  const { value, wrong } = readTools(scene);
  const names = (value ?? []).map((tool) => (tool as { function: { name: string } }).function.name);
  const choices = ["auto", "none", "required", ...names];
  return (
    <Section title="Tools">
      <div className="form">
        <CheckedText
          label="Definitions"
          value={scene.tools}
          onChange={(tools) => change({ tools })}
          wrong={wrong}
          good={names.length === 1 ? `1 tool: ${names[0]}` : `${names.length} tools: ${names.join(", ")}`}
          json
          example={exampleTools}
          placeholder='[{"type": "function", "function": {…}}]'
        />
        {names.length > 0 && (
          <Field label="Calls" help="auto leaves it to the model; required makes it call one; or name the tool.">
            <Select
              value={choices.includes(scene.toolChoice) ? scene.toolChoice : "auto"}
              onChange={(toolChoice: string) => change({ toolChoice })}
              options={choices.map((choice) => ({ value: choice, label: choice }))}
            />
          </Field>
        )}
      </div>
    </Section>
  );
}
