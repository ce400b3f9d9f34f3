// Chat with a deployment, streamed; base and tuned side by side on the same words. The browser keeps the talk.
import { SendOutlined, StopOutlined } from "@ant-design/icons";
import { Button, Checkbox, Input, InputNumber } from "antd";
import { useEffect, useRef, useState } from "react";
import { type ChatMessage, streamChat } from "@/api/chat";
import { toProblem } from "@/api/problems";
import { formatDuration, formatNumber } from "@/base/format";
import { type Problem } from "@/base/problem";
import { readStored, writeStored } from "@/base/storage";
import { type Deployment } from "@/gen/slipway/v1/deployment_pb";
import { ProblemBox } from "@/widgets/feedback";
import { Section } from "@/widgets/page";
import { useUrlState } from "@/widgets/url_state";

interface Turn extends ChatMessage {
  /** Said under an answer: tokens, rate, why it ended. */
  note?: string;
}
interface Talk {
  turns: Turn[];
  streaming: boolean;
  problem: Problem | null;
}
const emptyTalk: Talk = { turns: [], streaming: false, problem: null };
const keptTurns = 100;

export function DeploymentChat({ deployment, ready }: { deployment: Deployment; ready: boolean }) {
  const names = deployment.servedNames.length > 0 ? deployment.servedNames : [deployment.name];
  const storeKey = `chat.${deployment.id}`;
  const [compareText, setCompare] = useUrlState("compare", names.length > 1 ? "1" : "");
  const compare = compareText === "1" && names.length > 1;
  const models = compare ? names : names.slice(0, 1);
  const [talks, setTalks] = useState<Record<string, Talk>>(() => {
    const stored = readStored<Record<string, Turn[]>>(storeKey, {});
    return Object.fromEntries(Object.entries(stored).map(([name, turns]) => [name, { ...emptyTalk, turns }]));
  });
  const [text, setText] = useState("");
  const [temperature, setTemperature] = useState(0.7);
  const [maxTokens, setMaxTokens] = useState(256);
  const stop = useRef<AbortController | null>(null);
  const busy = models.some((name) => talks[name]?.streaming);

  useEffect(() => () => stop.current?.abort(), []);
  useEffect(() => {
    if (busy) return;
    const turns = Object.fromEntries(Object.entries(talks).map(([name, talk]) => [name, talk.turns.slice(-keptTurns)]));
    writeStored(storeKey, turns);
  }, [talks, busy, storeKey]);

  const update = (name: string, change: (talk: Talk) => Talk) =>
    setTalks((old) => ({ ...old, [name]: change(old[name] ?? emptyTalk) }));

  const ask = async (name: string, question: string, signal: AbortSignal) => {
    const before = talks[name]?.turns ?? [];
    const messages: Turn[] = [...before, { role: "user", content: question }];
    update(name, () => ({ turns: [...messages, { role: "assistant", content: "" }], streaming: true, problem: null }));
    const startedAt = performance.now();
    let firstAt = 0;
    let answer = "";
    const setAnswer = (note?: string) =>
      update(name, (talk) => ({
        ...talk,
        turns: [...messages, { role: "assistant", content: answer, ...(note ? { note } : {}) }],
      }));
    try {
      const result = await streamChat(
        name,
        messages.map(({ role, content }) => ({ role, content })),
        { temperature, maxTokens },
        (piece) => {
          firstAt ||= performance.now();
          answer += piece;
          setAnswer();
        },
        signal,
      );
      const seconds = (performance.now() - (firstAt || startedAt)) / 1000;
      const { completionTokens } = result;
      setAnswer(
        [
          completionTokens !== null && `${completionTokens} tokens`,
          completionTokens !== null && completionTokens > 1 && `${formatNumber((completionTokens - 1) / seconds, 3)} tokens/s`,
          `first after ${formatDuration(((firstAt || performance.now()) - startedAt) / 1000)}`,
          result.finishReason === "length" && "cut at the longest answer",
        ]
          .filter(Boolean)
          .join(" · "),
      );
    } catch (error) {
      if (signal.aborted) setAnswer("stopped");
      else {
        const problem = toProblem(error);
        // An answer that never began is taken back with its question.
        update(name, (talk) => ({ ...talk, problem, turns: answer ? talk.turns : before }));
      }
    }
    update(name, (talk) => ({ ...talk, streaming: false }));
  };
  const send = () => {
    const question = text.trim();
    if (!question || busy || !ready) return;
    setText("");
    stop.current = new AbortController();
    for (const name of models) void ask(name, question, stop.current.signal);
  };

  return (
    <Section
      title="Chat"
      flush
      extra={
        <div className="row">
          {names.length > 1 && (
            <Checkbox checked={compare} onChange={(event) => setCompare(event.target.checked ? "1" : "0")}>
              Base and tuned side by side
            </Checkbox>
          )}
          <label className="row small muted">
            Temperature
            <InputNumber size="small" min={0} max={2} step={0.1} value={temperature} onChange={(v) => setTemperature(v ?? 0)} style={{ width: 64 }} />
          </label>
          <label className="row small muted">
            Longest answer
            <InputNumber size="small" min={1} max={8192} value={maxTokens} onChange={(v) => setMaxTokens(v ?? 256)} style={{ width: 72 }} />
          </label>
          <Button size="small" disabled={busy} onClick={() => setTalks({})}>
            New chat
          </Button>
        </div>
      }
    >
      <div className={compare ? "columns two" : ""} style={{ gap: 0 }}>
        {models.map((name, index) => (
          <TalkView key={name} name={compare ? name : ""} divided={index > 0} talk={talks[name] ?? emptyTalk} ready={ready} />
        ))}
      </div>
      <div className="chat-input">
        <Input.TextArea
          aria-label="Message"
          placeholder={ready ? "Ask something. Enter sends, Shift+Enter breaks the line." : "The deployment is not ready."}
          autoSize={{ minRows: 1, maxRows: 6 }}
          value={text}
          disabled={!ready}
          onChange={(event) => setText(event.target.value)}
          onKeyDown={(event) => {
            if (event.key === "Enter" && !event.shiftKey && !event.nativeEvent.isComposing) {
              event.preventDefault();
              send();
            }
          }}
        />
        {busy ? (
          <Button icon={<StopOutlined />} onClick={() => stop.current?.abort()}>
            Stop
          </Button>
        ) : (
          <Button type="primary" icon={<SendOutlined />} disabled={!ready || !text.trim()} onClick={send}>
            Send
          </Button>
        )}
      </div>
    </Section>
  );
}

function TalkView({ name, divided, talk, ready }: { name: string; divided: boolean; talk: Talk; ready: boolean }) {
  const box = useRef<HTMLDivElement>(null);
  const last = talk.turns[talk.turns.length - 1];
  useEffect(() => {
    const element = box.current;
    if (element) element.scrollTop = element.scrollHeight;
  }, [talk.turns.length, last?.content]);
  return (
    <div className="chat" style={{ height: 380, ...(divided ? { borderLeft: "1px solid var(--line)" } : {}) }}>
      {name && (
        <div className="table-bar">
          <strong className="mono">{name}</strong>
        </div>
      )}
      <div className="chat-messages" ref={box} tabIndex={0} role="log" aria-label={name ? `Chat with ${name}` : "Chat"} aria-busy={talk.streaming}>
        {talk.turns.length === 0 && (
          <span className="muted">{ready ? "Nothing said yet." : "Chat begins when the deployment is ready."}</span>
        )}
        {talk.turns.map((turn, index) => (
          <div key={index} className={`chat-message ${turn.role}`} data-role={turn.role}>
            {turn.content || <span className="muted">…</span>}
            {turn.note && <div className="muted small">{turn.note}</div>}
          </div>
        ))}
        {talk.problem && <ProblemBox problem={talk.problem} />}
      </div>
    </div>
  );
}
