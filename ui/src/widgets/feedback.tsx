// What a page shows in place of its content: problems, empty places with the first step, skeletons.
import { ReloadOutlined } from "@ant-design/icons";
import { Button } from "antd";
import { type ReactNode } from "react";
import { asSentence, type Problem, withAdvice } from "@/base/problem";

export function ProblemBox({ problem, retry, title }: { problem: Problem; retry?: () => void; title?: string }) {
  return (
    <div className={problem.transient ? "problem soft" : "problem"} role="alert">
      <div className="grow stack tight">
        <strong>
          {title ? `${title}: ${problem.message}` : asSentence(problem.message)}
        </strong>
        {problem.field && (
          <span>
            Field: <code>{problem.field}</code>
          </span>
        )}
        {problem.violations.length > 0 && (
          <ul>
            {problem.violations.map((one, index) => (
              <li key={index}>
                {one.field && <code>{one.field}: </code>}
                {withAdvice(one.message, one.advice)}
              </li>
            ))}
          </ul>
        )}
        {problem.advice && <span>{asSentence(problem.advice)}</span>}
        <span className="code">{problem.code}</span>
      </div>
      {retry && (
        <Button size="small" icon={<ReloadOutlined />} onClick={retry}>
          Try again
        </Button>
      )}
    </div>
  );
}

export function Empty({ title, children, action }: { title: string; children?: ReactNode; action?: ReactNode }) {
  return (
    <div className="empty">
      <h3>{title}</h3>
      {children && <p>{children}</p>}
      {action}
    </div>
  );
}

export function Skeleton({ rows = 6, height = 20 }: { rows?: number; height?: number }) {
  return (
    <div className="stack" style={{ padding: 12 }} aria-busy="true" aria-label="Loading">
      {Array.from({ length: rows }, (_, row) => (
        <div key={row} className="skeleton" style={{ height, width: `${100 - ((row * 17) % 40)}%` }} />
      ))}
    </div>
  );
}
