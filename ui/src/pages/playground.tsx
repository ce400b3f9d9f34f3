// The playground: any deployed model, or two side by side on the same words, with every parameter. Which models and which
// way of asking live in the address; the words and settings are a draft that the browser keeps.
import { CodeOutlined, SendOutlined, StopOutlined } from "@ant-design/icons";
import { Button, Input, Modal, Segmented, Select } from "antd";
import { useEffect, useState } from "react";
import { useList } from "@/api/queries";
import { asCurl, asPython } from "@/base/code_samples";
import { type Mode } from "@/base/sampling";
import { readStored, writeStored } from "@/base/storage";
import { chatBody, openCalls, type Scene, sceneIsGood, startScene, textBody, type Turn } from "@/base/talk";
import { type Deployment, DeploymentAdapter_State, DeploymentState } from "@/gen/slipway/v1/deployment_pb";
import { PlaygroundSettings } from "@/pages/playground_settings";
import { TalkView } from "@/pages/talk_view";
import { type Talks, useTalks } from "@/pages/talks";
import { CodeBlock } from "@/widgets/copy";
import { Empty, Skeleton } from "@/widgets/feedback";
import { Field } from "@/widgets/field";
import { LinkButton } from "@/widgets/link_button";
import { Page, Section } from "@/widgets/page";
import { deploymentLook } from "@/widgets/state";
import { useUrlState } from "@/widgets/url_state";

const crumbs = [{ label: "Deployments", to: "/deployments" }];

/** What it was made for, its base, and the adapters that are loaded. */
const namesOf = (deployment: Deployment): string[] => [
  ...deployment.servedNames,
  ...deployment.adapters.filter((one) => one.state === DeploymentAdapter_State.LOADED).flatMap((one) => one.servedNames),
];

/** Every name that can be asked, with the deployment behind it. */
function targetsOf(deployments: readonly Deployment[]): Map<string, Deployment> {
  return new Map(deployments.flatMap((one) => namesOf(one).map((name): [string, Deployment] => [name, one])));
}

export default function Playground() {
  const list = useList("deployment", "", 500);
  const targets = targetsOf(list.items);
  const [chosen, choose] = useUrlState("a");
  const [other, chooseOther] = useUrlState("b");
  const [modeText, setMode] = useUrlState("mode", "chat");
  const [codeShown, showCode] = useUrlState("code");
  const mode: Mode = modeText === "text" ? "text" : "chat";
  const ready = (name: string) => targets.get(name)?.state === DeploymentState.READY;
  const first = chosen || [...targets.keys()].find(ready) || [...targets.keys()][0] || "";
  const names = [first, ...(other && other !== first ? [other] : [])].filter(Boolean);

  const [scene, setScene] = useState<Scene>(() => ({ ...startScene, ...readStored<Partial<Scene>>("playground", {}) }));
  useEffect(() => writeStored("playground", scene), [scene]);
  const change = (part: Partial<Scene>) => setScene((old) => ({ ...old, ...part }));
  // What is being typed, per way of asking. The words of a plain completion stay in their field; they are no talk.
  const [words, setWords] = useState(() => ({ chat: "", text: "", ...readStored<Partial<Record<Mode, string>>>("playground.words", {}) }));
  useEffect(() => writeStored("playground.words", words), [words]);

  const options = list.items.map((deployment) => ({
    label: `${deployment.name} (${deploymentLook(deployment.state).word.toLowerCase()})`,
    options: namesOf(deployment).map((name) => ({ value: name, label: name })),
  }));
  if (list.loading) return <Skeleton />;
  if (targets.size === 0) {
    return (
      <Page title="Playground" crumbs={crumbs}>
        <Section>
          <Empty title="Nothing is deployed" action={<LinkButton to="/deployments?new=1" type="primary">Deploy a model</LinkButton>}>
            The playground asks deployed models. Deploy one first.
          </Empty>
        </Section>
      </Page>
    );
  }
  return (
    <Page title="Playground" crumbs={crumbs} summary="Asks deployed models, one or two on the same words, as applications would.">
      <div className="row">
        <Segmented
          aria-label="Way of asking"
          value={mode}
          onChange={setMode}
          options={[
            { value: "chat", label: "Chat" },
            { value: "text", label: "Completion" },
          ]}
        />
        <Select aria-label="Model" showSearch value={first} onChange={choose} options={options} style={{ minWidth: 220 }} />
        <Select
          aria-label="Beside it"
          showSearch
          allowClear
          placeholder="Compare with …"
          value={other || null}
          onChange={(next?: string) => chooseOther(next ?? "")}
          options={options}
          style={{ minWidth: 220 }}
        />
        <span className="grow" />
        <Button icon={<CodeOutlined />} onClick={() => showCode("curl")}>
          Copy as code
        </Button>
      </div>
      <div className="detail playground">
        <Conversation key={mode} names={names} mode={mode} scene={scene} change={change} text={words[mode]} setText={(text) => setWords((old) => ({ ...old, [mode]: text }))} ready={ready} codeShown={codeShown} showCode={showCode} />
        <div className="stack">
          <PlaygroundSettings scene={scene} mode={mode} change={change} />
        </div>
      </div>
    </Page>
  );
}

interface ConversationProps {
  names: string[];
  mode: Mode;
  scene: Scene;
  change: (part: Partial<Scene>) => void;
  text: string;
  setText: (text: string) => void;
  ready: (name: string) => boolean;
  codeShown: string;
  showCode: (language: string) => void;
}

function Conversation({ names, mode, scene, change, text, setText, ready, codeShown, showCode }: ConversationProps) {
  const talks = useTalks(`playground.talks.${mode}`, scene, mode);
  const { busy } = talks;
  const good = sceneIsGood(scene, mode);
  const down = names.filter((name) => !ready(name));
  const waits = names.filter((name) => openCalls(talks.of(name).turns).length > 0);
  const can = good && down.length === 0 && waits.length === 0 && text.trim() !== "" && !busy;
  const send = () => {
    if (!can) return;
    talks.send(names, mode === "chat" ? text.trim() : text);
    if (mode === "chat") setText("");
  };
  const hint =
    down.length > 0
      ? `${down.join(" and ")} ${down.length > 1 ? "are" : "is"} not ready.`
      : waits.length > 0
        ? `${waits.join(" and ")} waits for the results of its calls.`
        : mode === "chat"
          ? "Ask something. Enter sends, Shift+Enter breaks the line."
          : "The beginning of a text, which the model goes on from. Ctrl+Enter sends.";
  return (
    <div className="stack">
      {mode === "chat" && (
        <Field label="System prompt" help="Said before the talk; empty leaves the model's own.">
          <Input.TextArea autoSize={{ minRows: 1, maxRows: 8 }} value={scene.system} onChange={(event) => change({ system: event.target.value })} />
        </Field>
      )}
      <Section
        title={mode === "chat" ? "Chat" : "Completion"}
        flush
        extra={
          <Button size="small" disabled={busy} onClick={() => talks.clear()}>
            {mode === "chat" ? "New chat" : "Clear"}
          </Button>
        }
      >
        <div className={names.length > 1 ? "columns two" : ""} style={{ gap: 0 }}>
          {names.map((name, index) => (
            <OneSide key={name} name={name} names={names} talks={talks} mode={mode} divided={index > 0} named={names.length > 1} />
          ))}
        </div>
        <div className="chat-input">
          <Input.TextArea
            aria-label={mode === "chat" ? "Message" : "Prompt"}
            placeholder={hint}
            autoSize={{ minRows: mode === "chat" ? 1 : 4, maxRows: 16 }}
            value={text}
            onChange={(event) => setText(event.target.value)}
            onKeyDown={(event) => {
              if (event.key !== "Enter" || event.nativeEvent.isComposing) return;
              if (mode === "chat" ? event.shiftKey : !event.ctrlKey && !event.metaKey) return;
              event.preventDefault();
              send();
            }}
          />
          {busy ? (
            <Button icon={<StopOutlined />} onClick={() => talks.stop()}>
              Stop
            </Button>
          ) : (
            <Button type="primary" icon={<SendOutlined />} disabled={!can} title={good ? hint : "A setting is wrong"} onClick={send}>
              Send
            </Button>
          )}
        </div>
      </Section>
      {codeShown && <Code language={codeShown} setLanguage={showCode} names={names} mode={mode} scene={scene} text={text} talks={talks} />}
    </div>
  );
}

interface OneSideProps {
  name: string;
  names: string[];
  talks: Talks;
  mode: Mode;
  divided: boolean;
  named: boolean;
}

function OneSide({ name, names, talks, mode, divided, named }: OneSideProps) {
  return (
    <TalkView
      name={name}
      title={named && <strong className="mono">{name}</strong>}
      talk={talks.of(name)}
      empty={mode === "chat" ? "Nothing said yet." : "Nothing completed yet."}
      divided={divided}
      regenerate={() => talks.regenerate(name)}
      take={(index, other) => talks.take(name, index, other)}
      {...(mode === "chat"
        ? {
            edit: (number: number, words: string) => talks.edit(names, number, words),
            editAnswer: (index: number, words: string) => talks.editAnswer(name, index, words),
            answerCalls: (results: Record<string, string>) => talks.answerCalls(name, results),
          }
        : {})}
    />
  );
}

interface CodeProps {
  language: string;
  setLanguage: (language: string) => void;
  names: string[];
  mode: Mode;
  scene: Scene;
  text: string;
  talks: Talks;
}

/** The request that Send would make now; with nothing typed, the last one that was made. */
function Code({ language, setLanguage, names, mode, scene, text, talks }: CodeProps) {
  const name = names[0] ?? "";
  const { turns } = talks.of(name);
  const answered = turns.map((turn) => turn.role).lastIndexOf("assistant");
  const asked: Turn[] = text.trim() ? [...turns, { role: "user", content: text }] : turns.slice(0, Math.max(0, answered));
  const messages: Turn[] = asked.length > 0 ? asked : [{ role: "user", content: "Hello" }];
  const words = text || (turns[0]?.content ?? "Once upon a time");
  const body = mode === "chat" ? chatBody(name, scene, messages) : textBody(name, scene, words);
  const endpoint = mode === "chat" ? "chat/completions" : "completions";
  const { origin } = window.location;
  const stream = !(mode === "chat" && "tools" in body) && !("n" in body && Number(body["n"]) > 1);
  return (
    <Modal open title="The same request as a program" footer={null} width={760} onCancel={() => setLanguage("")}>
      <div className="stack">
        <Segmented
          aria-label="Language"
          value={language === "python" ? "python" : "curl"}
          onChange={setLanguage}
          options={[
            { value: "curl", label: "curl" },
            { value: "python", label: "Python" },
          ]}
        />
        <span className="muted">
          Put a key of the deployment into the environment as <code>SLIPWAY_KEY</code>. Keys are made on the deployment's page.
        </span>
        <CodeBlock label="Program" text={language === "python" ? asPython(origin, endpoint, body, stream) : asCurl(origin, endpoint, body, stream)} />
      </div>
    </Modal>
  );
}
