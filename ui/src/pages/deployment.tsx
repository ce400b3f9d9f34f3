// One deployment: its state, a chat with it beside its base, how applications call it, and their keys.
import { useQueryClient } from "@tanstack/react-query";
import { Button, Segmented } from "antd";
import { useState } from "react";
import { useNavigate, useParams } from "react-router-dom";
import { keys } from "@/api/cache";
import { clients } from "@/api/clients";
import { toProblem } from "@/api/problems";
import { useDeployment } from "@/api/queries";
import { useWatchScope } from "@/api/watch_context";
import { asCurl, asPython } from "@/base/code_samples";
import { type Problem } from "@/base/problem";
import { formatCount } from "@/base/format";
import { type Deployment, DeploymentState } from "@/gen/slipway/v1/deployment_pb";
import { DeployDialog } from "@/pages/deploy_dialog";
import { DeploymentAdapters } from "@/pages/deployment_adapters";
import { DeploymentChat } from "@/pages/deployment_chat";
import { DeploymentKeys } from "@/pages/deployment_keys";
import { DeploymentNow } from "@/pages/deployment_now";
import { LogPanel } from "@/pages/log_panel";
import { ModelVersionLink, NodeLink, RunLink } from "@/pages/pickers";
import { ConfirmButton } from "@/widgets/confirm";
import { CodeBlock } from "@/widgets/copy";
import { ProblemBox, Skeleton } from "@/widgets/feedback";
import { type Fact, Facts, Page, Section } from "@/widgets/page";
import { deploymentLook, StateLabel } from "@/widgets/state";
import { Ago } from "@/widgets/time";
import { useUrlState } from "@/widgets/url_state";

const crumbs = [{ label: "Deployments", to: "/deployments" }];

export default function DeploymentPage() {
  const { id = "" } = useParams();
  const deployment = useDeployment(id);
  if (deployment.error) {
    return (
      <Page title="Deployment" crumbs={crumbs}>
        <ProblemBox problem={toProblem(deployment.error)} retry={() => void deployment.refetch()} />
      </Page>
    );
  }
  if (!deployment.data) return <Skeleton />;
  return <DeploymentView key={id} deployment={deployment.data} />;
}

function DeploymentView({ deployment }: { deployment: Deployment }) {
  useWatchScope({ deploymentId: deployment.id });
  const ready = deployment.state === DeploymentState.READY;
  return (
    <Page
      title={deployment.name}
      crumbs={crumbs}
      state={<StateLabel look={deploymentLook(deployment.state)} live />}
      summary={deployment.waitingReason || `Serves ${deployment.modelLabel}`}
      action={<Actions deployment={deployment} />}
    >
      {deployment.error && deployment.error.message && (
        <ProblemBox problem={{ ...deployment.error, field: "", violations: [], transient: false }} />
      )}
      <div className="detail">
        <div className="stack">
          <DeploymentNow deployment={deployment} />
          <DeploymentChat deployment={deployment} ready={ready} />
          <DeploymentAdapters deployment={deployment} />
          <HowToCall deployment={deployment} />
          <Log deployment={deployment} />
        </div>
        <div className="stack">
          <Section title="Facts">
            <Facts
              facts={[
                ["Model", <ModelVersionLink key="model" id={deployment.modelVersionId} />],
                deployment.baseVersionId ? ["Base", <ModelVersionLink key="base" id={deployment.baseVersionId} />] : null,
                [
                  "Names",
                  deployment.servedNames.map((name) => (
                    <div key={name}>
                      <code>{name}</code>
                    </div>
                  )),
                ],
                ["Weights", weights(deployment)],
                ["KV cache", cache(deployment)],
                ...limitFacts(deployment),
                deployment.nodeId ? ["Node", <NodeLink key="node" id={deployment.nodeId} />] : null,
                deployment.runId ? ["Made by", <RunLink key="run" id={deployment.runId} />] : null,
                ["Created", <Ago key="created" time={deployment.createdAt} />],
                ready ? ["Ready", <Ago key="ready" time={deployment.readyAt} />] : null,
                ["Id", <code key="id">{deployment.id}</code>],
              ]}
            />
          </Section>
          <DeploymentKeys deploymentId={deployment.id} name={deployment.name} />
        </div>
      </div>
    </Page>
  );
}

/** As asked for, and in brackets as the engine says that it holds them. */
const weights = ({ settings, limits }: Deployment) => {
  const asked = settings?.dtype ?? "auto";
  return limits?.dtype && limits.dtype !== asked ? `${asked} (${limits.dtype})` : asked;
};

const cache = ({ settings, limits }: Deployment) =>
  `${settings?.kvCacheDtype ?? "auto"}${limits ? `, ${formatCount(limits.kvCacheTokens)} tokens` : ""}`;

/** What the ready replica holds at most, as its engine says, and what else was set. */
function limitFacts({ limits, settings }: Deployment): Fact[] {
  return [
    ...(limits
      ? ([
          ["Context", `${formatCount(limits.maxModelLen)} tokens`],
          ["Batch", `${formatCount(limits.maxNumSeqs)} requests, ${formatCount(limits.queue)} more may wait`],
        ] satisfies Fact[])
      : []),
    ["Threads", settings?.threads ? formatCount(settings.threads) : "one per core"],
    settings?.speculativeTokens ? ["Guessed tokens", `${formatCount(settings.speculativeTokens)} per step`] : null,
  ];
}

function Actions({ deployment }: { deployment: Deployment }) {
  const navigate = useNavigate();
  const cache = useQueryClient();
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem | null>(null);
  const { id, name, state } = deployment;
  const act = async (call: () => Promise<Deployment>) => {
    setBusy(true);
    setProblem(null);
    try {
      cache.setQueryData(keys.one("deployment", id), await call());
    } catch (error) {
      setProblem(toProblem(error));
    } finally {
      setBusy(false);
    }
  };
  const down = state === DeploymentState.STOPPED || state === DeploymentState.FAILED;
  const [dialog, setDialog] = useUrlState("change");
  return (
    <>
      {dialog === "1" && <DeployDialog deployment={deployment} close={() => setDialog("")} />}
      {problem && <ProblemBox problem={problem} />}
      <ConfirmButton
        question={`Delete the deployment “${name}”?`}
        consequence="It stops, and its keys are forgotten: applications that call it get an error. The model stays."
        verb="Delete"
        toProblem={toProblem}
        act={async () => {
          await clients.deployments.deleteDeployment({ id });
          navigate("/deployments");
        }}
      />
      <Button disabled={state === DeploymentState.STOPPING} onClick={() => setDialog("1")}>
        Change
      </Button>
      {down ? (
        <Button type="primary" loading={busy} onClick={() => void act(() => clients.deployments.startDeployment({ id }))}>
          Start
        </Button>
      ) : (
        <ConfirmButton
          disabled={state === DeploymentState.STOPPING}
          question={`Stop the deployment “${name}”?`}
          consequence="Calls are refused until it is started again. Its name, what it serves and its keys stay."
          verb="Stop"
          toProblem={toProblem}
          act={() => act(() => clients.deployments.stopDeployment({ id }))}
        />
      )}
    </>
  );
}

/** What its replicas wrote. Read when opened and at each change of state; the page's stream carries states. */
function Log({ deployment }: { deployment: Deployment }) {
  const [shown, setShown] = useUrlState("log", deployment.state === DeploymentState.FAILED ? "1" : "");
  const open = shown === "1";
  return (
    <Section
      title="Log"
      flush
      extra={
        <Button size="small" aria-expanded={open} onClick={() => setShown(open ? "0" : "1")}>
          {open ? "Hide" : "Show"}
        </Button>
      }
    >
      {open && (
        <LogPanel
          key={deployment.state}
          scopeId={deployment.id}
          name={deployment.name}
          ended={deployment.state === DeploymentState.STOPPED}
          height={320}
        />
      )}
    </Section>
  );
}

function HowToCall({ deployment }: { deployment: Deployment }) {
  const [language, setLanguage] = useUrlState("call", "curl");
  const model = deployment.servedNames[0] ?? deployment.name;
  const { origin } = window.location;
  const body = { model, messages: [{ role: "user", content: "Hello" }] };
  return (
    <Section
      title="How to call it"
      extra={
        <Segmented
          size="small"
          value={language === "python" ? "python" : "curl"}
          onChange={setLanguage}
          options={[
            { value: "curl", label: "curl" },
            { value: "python", label: "Python" },
          ]}
        />
      }
    >
      <div className="stack tight">
        <span className="muted">
          OpenAI's API at <code>{origin}/v1</code>. Put a key of this deployment into <code>SLIPWAY_KEY</code>.
        </span>
        <CodeBlock
          label="Example"
          text={(language === "python" ? asPython : asCurl)(origin, "chat/completions", body, language === "python")}
        />
      </div>
    </Section>
  );
}
