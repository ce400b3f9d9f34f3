// The wizard of a workflow: steps at the left, a form made from its parameters alone in the middle, at the right what
// the run would do, checked live by the server; a review with the equivalent command line; launch.
import { useQueryClient } from "@tanstack/react-query";
import { Button } from "antd";
import { useMemo, useState } from "react";
import { useNavigate, useParams, useSearchParams } from "react-router-dom";
import { keys } from "@/api/cache";
import { clients } from "@/api/clients";
import { toProblem } from "@/api/problems";
import { usePlan, useRun, useWorkflow } from "@/api/queries";
import { decodeText, encodeAll, type FieldValue, parameterOfField } from "@/base/parameters";
import { type Problem } from "@/base/problem";
import { type FieldViolation } from "@/gen/slipway/v1/error_pb";
import { type Run } from "@/gen/slipway/v1/run_pb";
import { type Workflow } from "@/gen/slipway/v1/workflow_pb";
import { useDraft, useSettled } from "@/pages/draft";
import { Estimate } from "@/pages/estimate";
import { startSweep, SweepPanel } from "@/pages/sweep_panel";
import { Consequences, Review, reviewStep, StepForm, StepList } from "@/pages/wizard_parts";
import { ProblemBox, Skeleton } from "@/widgets/feedback";
import { Page, Section } from "@/widgets/page";
import { runEnded } from "@/widgets/state";
import { useUrlState } from "@/widgets/url_state";

const crumbs = [{ label: "Train", to: "/train" }];

export default function WizardPage() {
  const { workflow: name = "" } = useParams();
  const workflow = useWorkflow(name);
  const [params] = useSearchParams();
  const fromId = params.get("from") ?? "";
  const from = useRun(fromId);
  if (workflow.error) {
    return (
      <Page title="Start a run" crumbs={crumbs}>
        <ProblemBox problem={toProblem(workflow.error)} retry={() => void workflow.refetch()} />
      </Page>
    );
  }
  if (fromId && from.error) {
    return (
      <Page title="Start a run" crumbs={crumbs}>
        <ProblemBox problem={toProblem(from.error)} retry={() => void from.refetch()} />
      </Page>
    );
  }
  if (!workflow.data || (fromId && !from.data)) return <Skeleton />;
  return <Wizard key={`${name} ${fromId}`} workflow={workflow.data} from={from.data} />;
}

function Wizard({ workflow, from }: { workflow: Workflow; from: Run | undefined }) {
  const navigate = useNavigate();
  const cache = useQueryClient();
  const [params] = useSearchParams();
  // Links from models and datasets bring their values along; "train again" brings a run's.
  const preset: Record<string, FieldValue> = {};
  for (const parameter of workflow.parameters) {
    const value = params.get(parameter.name);
    if (value !== null && (parameter.type === "model" || parameter.type === "dataset")) preset[parameter.name] = value;
    const text = from?.parameters[parameter.name];
    if (text !== undefined && text !== parameter.defaultJson) preset[parameter.name] = decodeText(text);
  }
  const { draft, setValue, setName, setSweep, visit, clear } = useDraft(workflow.name, preset, from?.id);
  const steps = useMemo(() => [...workflow.steps.map((step) => step.name), reviewStep], [workflow.steps]);
  const [stepText, setStep] = useUrlState("step", steps[0]);
  const step = steps.includes(stepText) ? stepText : (steps[0] ?? reviewStep);
  const at = steps.indexOf(step);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem | null>(null);

  const texts = useMemo(() => encodeAll(draft.values), [draft.values]);
  const settled = useSettled(useMemo(() => ({ texts, name: draft.name }), [texts, draft.name]), 200);
  const plan = usePlan(workflow.name, settled.texts, settled.name);
  const violations = useMemo(() => {
    const byParameter = new Map<string, FieldViolation[]>();
    for (const violation of plan.data?.violations ?? []) {
      const name = parameterOfField(violation.field) || violation.field;
      byParameter.set(name, [...(byParameter.get(name) ?? []), violation]);
    }
    return byParameter;
  }, [plan.data]);
  const checked = !plan.isPlaceholderData && settled.texts === texts && settled.name === draft.name;

  const go = (next: string) => {
    visit(step);
    if (next === reviewStep) steps.forEach((one) => visit(one));
    setStep(next);
    document.getElementById("main")?.scrollTo({ top: 0 });
  };
  const launch = async () => {
    setBusy(true);
    setProblem(null);
    try {
      // An estimate that still measures would only hold the run up.
      const estimate = cache.getQueryData<Run>(keys.estimate(workflow.name, texts));
      const measured = estimate && cache.getQueryData<Run>(keys.one("run", estimate.id));
      if (estimate && !runEnded((measured ?? estimate).state)) await clients.runs.cancelRun({ id: estimate.id });
      const run = await clients.runs.startRun({
        workflow: workflow.name,
        name: draft.name,
        parameters: texts,
        idempotencyKey: draft.idempotencyKey,
      });
      clear();
      navigate(`/runs/${run.id}`);
    } catch (error) {
      setProblem(toProblem(error));
      setBusy(false);
    }
  };

  return (
    <Page title={workflow.title} crumbs={crumbs} summary={workflow.description}>
      <div className="wizard">
        <StepList
          workflow={workflow}
          current={step}
          visited={draft.visited}
          wrong={new Set(workflow.parameters.filter((one) => violations.has(one.name)).map((one) => one.step))}
          go={go}
        />
        <div className="stack">
          {step === reviewStep ? (
            <Review
              workflow={workflow}
              plan={plan.data}
              draft={draft}
              violations={violations}
              setName={setName}
              go={go}
            />
          ) : (
            <StepForm
              workflow={workflow}
              step={step}
              values={draft.values}
              setValue={setValue}
              violations={violations}
              strict={draft.visited.includes(step)}
            />
          )}
          {step === reviewStep && (
            <SweepPanel
              workflow={workflow}
              name={draft.name}
              values={draft.values}
              texts={texts}
              idempotencyKey={draft.idempotencyKey}
              draft={draft.sweep ?? startSweep}
              change={setSweep}
              good={checked && violations.size === 0}
              started={clear}
            />
          )}
          {problem && <ProblemBox title="The run was not started" problem={problem} />}
          <div className="row">
            <Button disabled={at <= 0} onClick={() => go(steps[at - 1] ?? step)}>
              Back
            </Button>
            {step === reviewStep ? (
              <Button
                type="primary"
                loading={busy}
                disabled={!checked || !plan.data || violations.size > 0}
                onClick={() => void launch()}
              >
                Start run
              </Button>
            ) : (
              <Button type="primary" onClick={() => go(steps[at + 1] ?? reviewStep)}>
                {at + 1 < workflow.steps.length ? "Next" : "Review"}
              </Button>
            )}
            <span className="grow" />
            <Button type="text" onClick={clear}>
              Clear the draft
            </Button>
          </div>
        </div>
        <aside className="consequences sticky stack" aria-label="Consequences">
          <Section title="What this run does">
            {plan.error ? (
              <ProblemBox problem={toProblem(plan.error)} retry={() => void plan.refetch()} />
            ) : plan.data ? (
              <Consequences plan={plan.data} stale={!checked} />
            ) : (
              <Skeleton rows={4} />
            )}
          </Section>
          {step === reviewStep && workflow.tasks.some((task) => task.kind === "train") && (
            <Section title="Measured in advance">
              <Estimate workflow={workflow.name} texts={settled.texts} good={checked && Boolean(plan.data) && violations.size === 0} />
            </Section>
          )}
        </aside>
      </div>
    </Page>
  );
}
