// Home: what runs now, recent results, what serves; the first steps while there is nothing.
import { CheckCircleFilled } from "@ant-design/icons";
import { type ReactNode } from "react";
import { Link } from "react-router-dom";
import { toProblem } from "@/api/problems";
import { useList } from "@/api/queries";
import { formatNumber, formatPercent } from "@/base/format";
import { NodeState } from "@/gen/slipway/v1/node_pb";
import { type Run, RunState } from "@/gen/slipway/v1/run_pb";
import { currentTask, nowLine, resultName } from "@/pages/run_columns";
import { Empty, ProblemBox, Skeleton } from "@/widgets/feedback";
import { LinkButton } from "@/widgets/link_button";
import { Page, Section } from "@/widgets/page";
import { deploymentLook, nodeLook, runEnded, runLook, StateLabel } from "@/widgets/state";
import { Ago, Elapsed } from "@/widgets/time";

const shownResults = 8;

export default function Home() {
  const runs = useList("run");
  const models = useList("model");
  const datasets = useList("dataset");
  const deployments = useList("deployment");
  const nodes = useList("node");
  const error = runs.error ?? models.error ?? datasets.error ?? deployments.error ?? nodes.error;
  const loading = runs.loading || models.loading || datasets.loading || nodes.loading;
  const going = runs.items.filter((run) => !runEnded(run.state));
  const ended = runs.items.filter((run) => runEnded(run.state)).slice(0, shownResults);
  const running = going.filter((run) => run.state === RunState.RUNNING).length;

  return (
    <Page
      title="Home"
      summary={
        loading || error
          ? " "
          : going.length > 0
            ? `${running} running, ${going.length - running} waiting`
            : "Nothing runs now."
      }
      action={
        !loading &&
        runs.items.length > 0 && (
          <LinkButton to="/train" type="primary">Start a run</LinkButton>
        )
      }
    >
      {error && <ProblemBox problem={toProblem(error)} retry={runs.reload} />}
      {loading && !error ? (
        <Skeleton />
      ) : (
        <>
          {runs.items.length === 0 && !error && (
            <FirstSteps
              node={nodes.items.some((node) => node.state === NodeState.ONLINE)}
              model={models.items.length > 0}
              data={datasets.items.length > 0}
            />
          )}
          {going.length > 0 && (
            <Section title="Runs now">
              <div className="stack">
                {going.map((run) => (
                  <RunNow key={run.id} run={run} />
                ))}
              </div>
            </Section>
          )}
          <div className="columns">
            {runs.items.length > 0 && (
              <Section title="Recent results" extra={<Link to="/train">All runs</Link>}>
                {ended.length === 0 ? (
                  <span className="muted">No run has ended yet.</span>
                ) : (
                  <div className="stack">
                    {ended.map((run) => (
                      <RunResult key={run.id} run={run} />
                    ))}
                  </div>
                )}
              </Section>
            )}
            {deployments.items.length > 0 && (
              <Section title="Deployments" extra={<Link to="/deployments">All</Link>}>
                <div className="stack tight">
                  {deployments.items.map((one) => (
                    <div key={one.id} className="row nowrap spread">
                      <Link className="cut" to={`/deployments/${one.id}`}>
                        {one.name}
                      </Link>
                      <StateLabel look={deploymentLook(one.state)} />
                    </div>
                  ))}
                </div>
              </Section>
            )}
            {nodes.items.length > 0 && (
              <Section title="Nodes" extra={<Link to="/nodes">All</Link>}>
                <div className="stack tight">
                  {nodes.items.map((node) => (
                    <div key={node.id} className="row nowrap spread">
                      <Link className="cut" to={`/nodes/${node.id}`}>
                        {node.name}
                      </Link>
                      <span className="row nowrap">
                        {node.state === NodeState.ONLINE && node.latestSample && (
                          <span className="muted num">
                            {formatPercent(node.latestSample.cpuUtilization)} processor
                          </span>
                        )}
                        <StateLabel look={nodeLook(node.state)} />
                      </span>
                    </div>
                  ))}
                </div>
              </Section>
            )}
          </div>
        </>
      )}
    </Page>
  );
}

function RunNow({ run }: { run: Run }) {
  const progress = currentTask(run)?.progress;
  const share = progress && progress.total > 0n ? Number(progress.done) / Number(progress.total) : undefined;
  return (
    <div className="stack tight">
      <div className="row spread">
        <Link to={`/runs/${run.id}`}>
          <strong>{run.name || run.id}</strong>
        </Link>
        <StateLabel look={runLook(run.state)} />
      </div>
      <div className="row spread muted">
        <span>{nowLine(run)}</span>
        <Elapsed start={run.startedAt} />
      </div>
      {share !== undefined && (
        <div style={{ height: 3, background: "var(--raised)" }} aria-hidden="true">
          <div style={{ height: 3, width: `${share * 100}%`, background: "var(--accent)" }} />
        </div>
      )}
    </div>
  );
}

function RunResult({ run }: { run: Run }) {
  const results = Object.entries(run.results).sort(([a], [b]) => a.localeCompare(b));
  return (
    <div className="stack tight">
      <div className="row nowrap spread">
        <Link className="cut" to={`/runs/${run.id}`}>
          {run.name || run.id}
        </Link>
        <StateLabel look={runLook(run.state)} />
      </div>
      <div className="row spread muted small">
        <span>
          {run.error
            ? run.error.message
            : results.map(([name, value]) => `${resultName(name)} ${formatNumber(value)}`).join(" · ")}
        </span>
        <Ago time={run.finishedAt} />
      </div>
    </div>
  );
}

function FirstSteps({ node, model, data }: { node: boolean; model: boolean; data: boolean }) {
  const steps: { done: boolean; title: string; text: string; action: ReactNode }[] = [
    {
      done: node,
      title: "Have a node online",
      text: "An agent on a machine runs the work. On this machine: slipway up starts one.",
      action: <Link to="/nodes">Nodes</Link>,
    },
    {
      done: model,
      title: "Import a model",
      text: "A GGUF file or a Hugging Face folder.",
      action: <Link to="/models/import">Import a model</Link>,
    },
    {
      done: data,
      title: "Import data",
      text: "A JSONL file of examples, a few hundred are enough to begin.",
      action: <Link to="/data/import">Import data</Link>,
    },
    {
      done: false,
      title: "Start a run",
      text: "A guided workflow trains, compares with the base model, and deploys what is better.",
      action: <Link to="/train">Start a run</Link>,
    },
  ];
  const next = steps.findIndex((step) => !step.done);
  return (
    <Section title="First steps">
      <ol className="stack" style={{ listStyle: "none" }}>
        {steps.map((step, index) => (
          <li key={step.title} className="row nowrap" style={{ alignItems: "flex-start", gap: 12 }}>
            <span className={step.done ? "tone-ok" : "muted"} style={{ width: 20, textAlign: "center" }}>
              {step.done ? <CheckCircleFilled aria-label="Done" /> : `${index + 1}`}
            </span>
            <div className="grow">
              <strong>{step.title}</strong>
              <div className="muted">{step.text}</div>
            </div>
            {index === next && step.action}
          </li>
        ))}
      </ol>
      {next < 0 && <Empty title="All set" />}
    </Section>
  );
}
