// One model's side of a playground: its turns, with what was measured, token probabilities, tool calls and their results.
import { EditOutlined, RedoOutlined } from "@ant-design/icons";
import { Button, Input } from "antd";
import { memo, type ReactNode, useEffect, useRef, useState } from "react";
import { formatCount, formatDuration, formatNumber } from "@/base/format";
import { argumentRows, type Measured, openCalls, type Said, type ToolCall, type Turn } from "@/base/talk";
import { type Talk } from "@/pages/talks";
import { ProblemBox } from "@/widgets/feedback";
import { TokenProbabilities } from "@/widgets/token_probabilities";

interface TalkViewProps {
  name: string;
  /** Shown above it; empty for none. */
  title?: ReactNode;
  talk: Talk;
  /** Said while there are no turns. */
  empty: string;
  height?: number | undefined;
  divided?: boolean;
  regenerate?: () => void;
  take?: (index: number, other: number) => void;
  edit?: (number: number, text: string) => void;
  editAnswer?: (index: number, text: string) => void;
  answerCalls?: (results: Record<string, string>) => void;
}

export function TalkView(props: TalkViewProps) {
  const { name, title, talk, empty, height, divided = false } = props;
  const box = useRef<HTMLDivElement>(null);
  // Turns are drawn again only when they change: what their buttons call is looked up when they are pressed.
  const latest = useRef(props);
  latest.current = props;
  const last = talk.turns[talk.turns.length - 1];
  useEffect(() => {
    const element = box.current;
    if (element) element.scrollTop = element.scrollHeight;
  }, [talk.turns.length, last?.content]);
  const lastAnswer = talk.turns.map((turn) => turn.role).lastIndexOf("assistant");
  const open = talk.streaming ? [] : openCalls(talk.turns);
  let user = -1;
  return (
    <div className={divided ? "chat divided" : "chat"} style={height ? { height } : undefined}>
      {title && <div className="table-bar">{title}</div>}
      <div className="chat-messages" ref={box} tabIndex={0} role="log" aria-label={`Chat with ${name}`} aria-busy={talk.streaming}>
        {talk.turns.length === 0 && <span className="muted">{empty}</span>}
        {talk.turns.map((turn, index) => {
          if (turn.role === "user") user += 1;
          const number = user;
          return (
            <TurnView
              key={index}
              turn={turn}
              waiting={talk.streaming && index === talk.turns.length - 1}
              {...(turn.role === "user" && props.edit && !talk.streaming ? { save: (text: string) => latest.current.edit?.(number, text) } : {})}
              {...(turn.others && props.take && !talk.streaming ? { take: (other: number) => latest.current.take?.(index, other) } : {})}
              {...(turn.role === "assistant" && props.editAnswer && !talk.streaming ? { save: (text: string) => latest.current.editAnswer?.(index, text) } : {})}
              {...(index === lastAnswer && props.regenerate && !talk.streaming ? { regenerate: () => latest.current.regenerate?.() } : {})}
            />
          );
        })}
        {open.length > 0 && props.answerCalls && <CallResults key={open[0]?.id} calls={open} send={props.answerCalls} />}
        {talk.problem && <ProblemBox problem={talk.problem} />}
      </div>
    </div>
  );
}

const endings: Record<string, string> = {
  length: "cut at the longest answer",
  stopped: "stopped",
  tool_calls: "calls tools",
};

function figuresOf(measured: Measured): string {
  const { completionTokens, tokensPerSecond, firstAfterSeconds, promptTokens, finishReason } = measured;
  return [
    completionTokens !== undefined && `${formatCount(completionTokens)} tokens`,
    tokensPerSecond !== undefined && `${formatNumber(tokensPerSecond, 3)} tokens/s`,
    firstAfterSeconds !== undefined && `first after ${formatDuration(firstAfterSeconds)}`,
    promptTokens !== undefined && `prompt ${formatCount(promptTokens)}`,
    endings[finishReason],
  ]
    .filter(Boolean)
    .join(" · ");
}

interface TurnViewProps {
  turn: Turn;
  waiting: boolean;
  save?: (text: string) => void;
  regenerate?: () => void;
  take?: (other: number) => void;
}

const TurnView = memo(
  function TurnView({ turn, waiting, save, regenerate, take }: TurnViewProps) {
    const [draft, setDraft] = useState<string | null>(null);
    if (draft !== null && save) {
      return (
        <div className={`chat-message ${turn.role} editing`}>
          <Input.TextArea aria-label="Other words" autoFocus autoSize={{ minRows: 2, maxRows: 12 }} value={draft} onChange={(event) => setDraft(event.target.value)} />
          <div className="row">
            <Button
              size="small"
              type="primary"
              disabled={!draft.trim()}
              onClick={() => {
                setDraft(null);
                save(draft);
              }}
            >
              {turn.role === "user" ? "Ask again" : "Save"}
            </Button>
            <Button size="small" onClick={() => setDraft(null)}>
              Leave it
            </Button>
          </div>
        </div>
      );
    }
    return (
      <div className={`chat-message ${turn.role}`} data-role={turn.role}>
        {turn.role === "tool" && <div className="muted small">Result</div>}
        <SaidView said={turn} waiting={waiting} />
        {turn.others?.map((other, index) => (
          <div key={index} className="chat-other">
            <div className="row spread small muted">
              <span>{`Answer ${index + 2} of ${turn.others!.length + 1}`}</span>
              {take && (
                <Button size="small" onClick={() => take(index)}>
                  Go on from this one
                </Button>
              )}
            </div>
            <SaidView said={other} waiting={waiting} />
          </div>
        ))}
        {(turn.measured || save || regenerate) && (
          <div className="row small muted foot">
            {turn.measured && <span>{figuresOf(turn.measured)}</span>}
            {regenerate && <Button size="small" type="text" icon={<RedoOutlined />} aria-label="Regenerate" title="Regenerate" onClick={regenerate} />}
            {save && <Button size="small" type="text" icon={<EditOutlined />} aria-label="Edit" title={turn.role === "user" ? "Say it otherwise" : "Edit the answer"} onClick={() => setDraft(turn.content)} />}
          </div>
        )}
      </div>
    );
  },
  // See `latest` above.
  (a, b) => a.turn === b.turn && a.waiting === b.waiting && !a.save === !b.save && !a.regenerate === !b.regenerate && !a.take === !b.take,
);

function SaidView({ said, waiting }: { said: Said; waiting: boolean }) {
  const whole = said.content || (said.calls?.length ? "" : null);
  return (
    <>
      {said.tokens ? <TokenProbabilities tokens={said.tokens} /> : (whole ?? <span className="muted">{waiting ? "…" : "(nothing)"}</span>)}
      {said.calls?.map((call, index) => <CallView key={index} call={call} />)}
    </>
  );
}

function CallView({ call }: { call: ToolCall }) {
  return (
    <div className="tool-call" aria-label={`Call of ${call.name}`}>
      <strong className="mono">{call.name || "…"}</strong>
      <dl className="facts">
        {argumentRows(call.arguments).map(([name, value], index) => (
          <div key={index} style={{ display: "contents" }}>
            <dt className="mono">{name}</dt>
            <dd className="mono">{value}</dd>
          </div>
        ))}
      </dl>
    </div>
  );
}

function CallResults({ calls, send }: { calls: ToolCall[]; send: (results: Record<string, string>) => void }) {
  const [results, setResults] = useState<Record<string, string>>({});
  return (
    <div className="chat-message tool editing">
      {calls.map((call) => (
        <label key={call.id} className="stack tight">
          <span className="small">
            Result of <code>{call.name}</code>
          </span>
          <Input.TextArea
            className="mono"
            autoSize={{ minRows: 1, maxRows: 8 }}
            placeholder={'{"temperature": 21}'}
            value={results[call.id] ?? ""}
            onChange={(event) => setResults({ ...results, [call.id]: event.target.value })}
          />
        </label>
      ))}
      <div className="row">
        <Button size="small" type="primary" disabled={calls.some((call) => !(results[call.id] ?? "").trim())} onClick={() => send(results)}>
          Send results
        </Button>
      </div>
    </div>
  );
}
