// A short chat on a deployment's page; base and tuned side by side. The playground has everything else.
import { SendOutlined, StopOutlined } from "@ant-design/icons";
import { Button, Checkbox, Input, InputNumber } from "antd";
import { useState } from "react";
import { playgroundAddress } from "@/base/addresses";
import { type Scene, startScene } from "@/base/talk";
import { type Deployment } from "@/gen/slipway/v1/deployment_pb";
import { TalkView } from "@/pages/talk_view";
import { useTalks } from "@/pages/talks";
import { LinkButton } from "@/widgets/link_button";
import { Section } from "@/widgets/page";
import { useUrlState } from "@/widgets/url_state";

export function DeploymentChat({ deployment, ready }: { deployment: Deployment; ready: boolean }) {
  const names = deployment.servedNames.length > 0 ? deployment.servedNames : [deployment.name];
  const [compareText, setCompare] = useUrlState("compare", names.length > 1 ? "1" : "");
  const compare = compareText === "1" && names.length > 1;
  const models = names.slice(0, compare ? 2 : 1);
  const [text, setText] = useState("");
  const [settings, setSettings] = useState<Scene["settings"]>(startScene.settings);
  const talks = useTalks(`chat.${deployment.id}`, { ...startScene, settings }, "chat");
  const number = (name: string, otherwise: number) => Number(settings[name] ?? otherwise);
  const send = () => {
    const question = text.trim();
    if (!question || talks.busy || !ready) return;
    setText("");
    talks.send(models, question);
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
            <InputNumber size="small" min={0} max={2} step={0.1} value={number("temperature", 0.7)} onChange={(v) => setSettings({ ...settings, temperature: String(v ?? 0) })} style={{ width: 64 }} />
          </label>
          <label className="row small muted">
            Longest answer
            <InputNumber size="small" min={1} max={8192} value={number("max_tokens", 256)} onChange={(v) => setSettings({ ...settings, max_tokens: String(v ?? 256) })} style={{ width: 72 }} />
          </label>
          <Button size="small" disabled={talks.busy} onClick={() => talks.clear()}>
            New chat
          </Button>
          <LinkButton size="small" to={playgroundAddress(models[0] ?? "", models[1])}>
            Open in the playground
          </LinkButton>
        </div>
      }
    >
      <div className={compare ? "columns two" : ""} style={{ gap: 0 }}>
        {models.map((name, index) => (
          <TalkView
            key={name}
            name={name}
            title={compare && <strong className="mono">{name}</strong>}
            talk={talks.of(name)}
            height={380}
            empty={ready ? "Nothing said yet." : "Chat begins when the deployment is ready."}
            divided={index > 0}
            regenerate={() => talks.regenerate(name)}
          />
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
        {talks.busy ? (
          <Button icon={<StopOutlined />} onClick={() => talks.stop()}>
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
