// One run: its graph of tasks, what it does now, curves beside the node's, log, events, the exact spec.
import { Button } from "antd";
import { useState } from "react";
import { Link, useParams } from "react-router-dom";
import { clients } from "@/api/clients";
import { toProblem } from "@/api/problems";
import { useDeployment, useRun, useWorkflow } from "@/api/queries";
import { useWatchScope } from "@/api/watch_context";
import { playgroundAddress } from "@/base/addresses";
import { formatNumber } from "@/base/format";
import { decodeText, sayParameter } from "@/base/parameters";
import { type Problem } from "@/base/problem";
import { type Run, RunState, TaskState } from "@/gen/slipway/v1/run_pb";
import { Predictions } from "@/pages/estimate";
import { LogPanel } from "@/pages/log_panel";
import { NodeCharts } from "@/pages/node_charts";
import { DatasetVersionLink, DeploymentLink, ModelVersionLink, NodeLink } from "@/pages/pickers";
import { RunCharts } from "@/pages/run_charts";
import { currentTask, nowLine, resultName } from "@/pages/run_columns";
import { RunEvents } from "@/pages/run_events";
import { useRunMetrics } from "@/pages/run_metrics";
import { RunSamples } from "@/pages/run_samples";
import { RunSpec } from "@/pages/run_spec";
import { RunProgress, TaskDetails, TaskGraph } from "@/pages/run_tasks";
import { RunWarnings } from "@/pages/run_warnings";
import { ConfirmButton } from "@/widgets/confirm";
import { ProblemBox, Skeleton } from "@/widgets/feedback";
import { LinkButton } from "@/widgets/link_button";
import { Facts, Page, Section } from "@/widgets/page";
import { runEnded, runLook, StateLabel } from "@/widgets/state";
import { UrlTabs } from "@/widgets/tabs";
import { Ago, Elapsed } from "@/widgets/time";
import { useUrlState } from "@/widgets/url_state";

const crumbs = [{ label: "Train", to: "/train" }];

export default function RunPage() {
  const { id = "" } = useParams();
  useWatchScope({ runId: id, logs: true, samples: true });
  const run = useRun(id);
  if (run.error && !run.data) {
    return (
      <Page title="Run" crumbs={crumbs}>
        <ProblemBox problem={toProblem(run.error)} retry={() => void run.refetch()} />
      </Page>
    );
  }
  if (!run.data) return <Skeleton />;
  return <RunView key={id} run={run.data} />;
}

function RunView({ run }: { run: Run }) {
  const [task, setTask] = useUrlState("task");
  const metrics = useRunMetrics(run.id);
  const selected = run.tasks.find((one) => one.name === task);
  return (
    <Page
      title={run.name || run.id}
      crumbs={crumbs}
      state={<StateLabel look={runLook(run.state)} live />}
      summary={nowLine(run) || undefined}
      action={<RunActions run={run} />}
    >
      {run.error && (
        <ProblemBox
          title={run.error.task ? `Task ${run.error.task}` : "The run failed"}
          problem={{ ...run.error, field: "", violations: [], transient: false }}
        />
      )}
      <Section title="Tasks">
        <TaskGraph run={run} selected={task} select={(name) => setTask(name === task ? "" : name)} />
      </Section>
      <div className="detail">
        <div className="stack">
          <RunProgress run={run} metrics={metrics} />
          <RunWarnings runId={run.id} />
          <Section>
            <UrlTabs
              tabs={[
                { key: "charts", label: "Charts", content: () => <RunCharts run={run} metrics={metrics} /> },
                { key: "samples", label: "Samples", content: () => <RunSamples run={run} /> },
                { key: "log", label: "Log", content: () => <RunLog run={run} task={task} setTask={setTask} /> },
                { key: "events", label: "Events", content: () => <RunEvents run={run} task={task} /> },
                { key: "spec", label: "Spec", content: () => <RunSpec run={run} task={task} setTask={setTask} /> },
              ]}
            />
          </Section>
        </div>
        <div className="stack">
          {selected && <TaskDetails task={selected} close={() => setTask("")} />}
          <RunResults run={run} />
          {Object.keys(run.predictions).length > 0 && (
            <Section title="Told in advance">
              <Predictions run={run} metrics={metrics} />
            </Section>
          )}
          <RunNode run={run} />
          <RunFacts run={run} />
        </div>
      </div>
    </Page>
  );
}

function RunLog({ run, task, setTask }: { run: Run; task: string; setTask: (task: string) => void }) {
  return (
    <LogPanel
      scopeId={run.id}
      name={run.name || run.id}
      ended={runEnded(run.state)}
      tasks={run.tasks.map((one) => ({ value: one.name, label: one.title || one.name }))}
      task={task}
      setTask={setTask}
    />
  );
}

function RunActions({ run }: { run: Run }) {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem | null>(null);
  const act = async (call: () => Promise<unknown>) => {
    setBusy(true);
    setProblem(null);
    try {
      await call();
    } catch (error) {
      setProblem(toProblem(error));
    } finally {
      setBusy(false);
    }
  };
  const training = run.tasks.some((task) => task.kind === "train" && task.state === TaskState.RUNNING);
  const ended = runEnded(run.state);
  return (
    <>
      {problem && <ProblemBox problem={problem} />}
      <LinkButton to={`/train/new/${run.workflow}?from=${run.id}`} title="A new run with the same values, to be changed">
        {run.tasks.some((task) => task.kind === "train") ? "Train again with changes" : "Run again with changes"}
      </LinkButton>
      {!ended && training && (
        <Button
          loading={busy}
          title="The training ends after this step; what it has learned is kept and goes on through the workflow"
          onClick={() => void act(() => clients.runs.cancelRun({ id: run.id, keep: true }))}
        >
          Stop and keep
        </Button>
      )}
      {!ended && (
        <ConfirmButton
          danger
          disabled={run.state === RunState.CANCELLING}
          question={`Cancel the run “${run.name || run.id}”?`}
          consequence="The engine saves a checkpoint and leaves. The run can be resumed from there."
          verb="Cancel run"
          toProblem={toProblem}
          act={() => clients.runs.cancelRun({ id: run.id })}
        />
      )}
      {ended && run.state !== RunState.SUCCEEDED && (
        <Button
          type="primary"
          loading={busy}
          onClick={() => void act(() => clients.runs.retryRun({ id: run.id }))}
          title="From the last checkpoint; finished tasks keep their outputs"
        >
          {run.state === RunState.CANCELLED ? "Resume" : "Retry"}
        </Button>
      )}
      {ended && run.deploymentId && <DeploymentActions id={run.deploymentId} />}
    </>
  );
}

function DeploymentActions({ id }: { id: string }) {
  const deployment = useDeployment(id).data;
  const [tuned = "", ...others] = deployment?.servedNames ?? [];
  const base = others.at(-1) ?? "";
  return (
    <>
      {base && <LinkButton to={playgroundAddress(tuned, base)}>Compare with the base</LinkButton>}
      <LinkButton to={`/deployments/${id}`} type="primary">
        Open the deployment
      </LinkButton>
    </>
  );
}

/** Beside the curves: how the node does that the run is or was last on. */
function RunNode({ run }: { run: Run }) {
  const [tab] = useUrlState("tab", "charts");
  const attempts = [...run.tasks.flatMap((task) => task.attempts), ...(currentTask(run)?.attempts ?? [])];
  const nodeId = attempts.filter((attempt) => attempt.nodeId).pop()?.nodeId;
  if (!nodeId || tab !== "charts") return null;
  return (
    <Section title={<NodeLink id={nodeId} />} label="Node" extra={<span className="muted small">last ten minutes</span>}>
      <NodeCharts nodeId={nodeId} />
    </Section>
  );
}

function RunResults({ run }: { run: Run }) {
  const results = Object.entries(run.results).sort(([a], [b]) => a.localeCompare(b));
  if (results.length === 0 && !run.modelVersionId && !run.deploymentId) return null;
  return (
    <Section title="Results">
      <Facts
        facts={[
          ...results.map(([name, value]): [string, string] => [resultName(name), formatNumber(value)]),
          run.modelVersionId ? ["Model", <ModelVersionLink key="model" id={run.modelVersionId} />] : null,
          run.deploymentId
            ? ["Deployment", <DeploymentLink key="deployment" id={run.deploymentId} />]
            : null,
        ]}
      />
    </Section>
  );
}

function RunFacts({ run }: { run: Run }) {
  const workflow = useWorkflow(run.workflow).data;
  const parameters = Object.entries(run.parameters).map(([name, text]) => {
    const known = workflow?.parameters.find((one) => one.name === name);
    const value = decodeText(text);
    const shown =
      known?.type === "model" && typeof value === "string" ? (
        <ModelVersionLink key={name} id={value} />
      ) : known?.type === "dataset" && typeof value === "string" ? (
        <DatasetVersionLink key={name} id={value} />
      ) : (
        sayParameter(value, known)
      );
    return { order: workflow?.parameters.findIndex((one) => one.name === name) ?? 0, label: known?.label || name, shown };
  });
  parameters.sort((a, b) => a.order - b.order);
  return (
    <Section title="Facts">
      <Facts
        facts={[
          ["Workflow", workflow?.title ?? run.workflow],
          run.sweepId ? ["Sweep", <Link key="sweep" to={`/train/compare?sweep=${run.sweepId}`}>Compare its runs</Link>] : null,
          ["Created", <Ago key="created" time={run.createdAt} />],
          ["By", run.createdBy],
          ["Time", run.startedAt && <Elapsed key="time" start={run.startedAt} end={run.finishedAt} />],
          ...parameters.map(({ label, shown }): [string, React.ReactNode] => [label, shown]),
          ["Id", <code key="id">{run.id}</code>],
        ]}
      />
    </Section>
  );
}
