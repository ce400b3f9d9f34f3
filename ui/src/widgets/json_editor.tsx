// Text in a fixed-width field that is checked as one types: JSON, an expression, a grammar.
import { CheckCircleFilled, WarningFilled } from "@ant-design/icons";
import { Button, Input } from "antd";
import { useId } from "react";

interface CheckedTextProps {
  label: string;
  value: string;
  onChange: (value: string) => void;
  /** Empty: it is good. */
  wrong: string;
  /** Said while it is good and not empty. */
  good: string;
  placeholder?: string;
  /** Puts an example into an empty field. */
  example?: string;
  /** Written anew with two spaces, where that can be done. */
  json?: boolean;
  rows?: number;
}

export function CheckedText(props: CheckedTextProps) {
  const { label, value, onChange, wrong, good, placeholder, example, json = false, rows = 8 } = props;
  const id = useId();
  const tidy = () => {
    try {
      onChange(JSON.stringify(JSON.parse(value), null, 2));
    } catch {
      // What is wrong is said below.
    }
  };
  return (
    <div className="field">
      <div className="row spread">
        <label htmlFor={id}>{label}</label>
        <span className="row">
          {example && !value.trim() && (
            <Button size="small" type="text" onClick={() => onChange(example)}>
              Put in an example
            </Button>
          )}
          {json && value.trim() && (
            <Button size="small" type="text" disabled={wrong !== ""} onClick={tidy}>
              Tidy
            </Button>
          )}
        </span>
      </div>
      <Input.TextArea
        id={id}
        className="mono"
        spellCheck={false}
        autoSize={{ minRows: Math.min(rows, 3), maxRows: 18 }}
        value={value}
        placeholder={placeholder}
        aria-invalid={wrong !== ""}
        aria-describedby={`${id}-said`}
        {...(wrong ? { status: "error" as const } : {})}
        onChange={(event) => onChange(event.target.value)}
      />
      <span id={`${id}-said`} className={wrong ? "wrong" : "help"} aria-live="polite">
        {wrong ? (
          <>
            <WarningFilled aria-hidden="true" /> {wrong}
          </>
        ) : (
          value.trim() && (
            <>
              <CheckCircleFilled aria-hidden="true" className="tone-ok" /> {good}
            </>
          )
        )}
      </span>
    </div>
  );
}
