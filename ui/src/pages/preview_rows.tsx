// One row of a dataset at a time, as the file has it and as a model sees it.
import { LeftOutlined, RightOutlined } from "@ant-design/icons";
import { Button, InputNumber } from "antd";
import { toProblem } from "@/api/problems";
import { formatCount } from "@/base/format";
import { type PreviewDatasetResponse, type PreviewRow } from "@/gen/slipway/v1/dataset_pb";
import { ProblemBox, Skeleton } from "@/widgets/feedback";
import { TokensView } from "@/widgets/tokens_view";

interface PreviewRowsProps {
  preview: { data: PreviewDatasetResponse | undefined; error: Error | null; isPending: boolean; refetch: () => unknown };
  offset: number;
  setOffset: (offset: number) => void;
}

export function PreviewRows({ preview, offset, setOffset }: PreviewRowsProps) {
  const { data, error } = preview;
  if (error) return <ProblemBox problem={toProblem(error)} retry={() => void preview.refetch()} />;
  if (!data) return <Skeleton />;
  const row = data.rows[0];
  const last = Math.max(0, Number(data.rowCount) - 1);
  return (
    <div className="stack">
      <div className="row">
        <Button icon={<LeftOutlined />} aria-label="Row before" disabled={offset <= 0} onClick={() => setOffset(offset - 1)} />
        <span>
          Row{" "}
          <InputNumber
            size="small"
            min={1}
            max={last + 1}
            value={offset + 1}
            onChange={(value) => value && setOffset(value - 1)}
            aria-label="Row number"
            style={{ width: 88 }}
          />{" "}
          of <span className="num">{formatCount(data.rowCount)}</span>
        </span>
        <Button icon={<RightOutlined />} aria-label="Next row" disabled={offset >= last} onClick={() => setOffset(offset + 1)} />
      </div>
      {data.problems.length > 0 && (
        <div className="problem soft" role="status">
          <ul>
            {data.problems.map((one) => (
              <li key={one}>{one}</li>
            ))}
          </ul>
        </div>
      )}
      {row && <OneRow row={row} />}
    </div>
  );
}

function OneRow({ row }: { row: PreviewRow }) {
  return (
    <div className="stack">
      {row.problem && <div className="problem soft">{row.problem}</div>}
      {row.tokens.length > 0 && (
        <div className="stack tight">
          <strong>As the model sees it</strong>
          <TokensView tokens={row.tokens} />
        </div>
      )}
      {row.messages.length > 0 && row.tokens.length === 0 && (
        <div className="stack tight">
          <strong>Messages</strong>
          {row.messages.map((message, index) => (
            <div key={index} className={`chat-message ${message.role === "user" ? "user" : ""}`}>
              <div className="muted small">{message.role}</div>
              {message.content}
            </div>
          ))}
        </div>
      )}
      <details>
        <summary>The row in the file</summary>
        <pre className="tokens">{pretty(row.json)}</pre>
      </details>
    </div>
  );
}

function pretty(json: string): string {
  try {
    return JSON.stringify(JSON.parse(json), null, 2);
  } catch {
    return json;
  }
}
