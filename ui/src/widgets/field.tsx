// A labelled input with its help and what is wrong with it, tied together for screen readers.
import { cloneElement, type ReactElement, type ReactNode, useId } from "react";

interface FieldProps {
  label: ReactNode;
  help?: ReactNode;
  wrong?: ReactNode;
  children: ReactElement<{ id?: string; "aria-describedby"?: string; "aria-invalid"?: boolean; status?: "" | "error" }>;
}

export function Field({ label, help, wrong, children }: FieldProps) {
  const id = useId();
  return (
    <div className="field">
      <label htmlFor={id}>{label}</label>
      {cloneElement(children, {
        id,
        "aria-describedby": `${id}-help ${id}-wrong`,
        "aria-invalid": Boolean(wrong),
        ...(wrong ? { status: "error" as const } : {}),
      })}
      {help && (
        <span className="help" id={`${id}-help`}>
          {help}
        </span>
      )}
      <span className="wrong" id={`${id}-wrong`} aria-live="polite">
        {wrong}
      </span>
    </div>
  );
}
