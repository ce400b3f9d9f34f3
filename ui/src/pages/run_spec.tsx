// The exact spec that a task's latest attempt was started with.
import { Select } from "antd";
import { toProblem } from "@/api/problems";
import { useTaskSpec } from "@/api/queries";
import { type Run } from "@/gen/slipway/v1/run_pb";
import { CodeBlock } from "@/widgets/copy";
import { Empty, ProblemBox, Skeleton } from "@/widgets/feedback";

interface RunSpecProps {
  run: Run;
  task: string;
  setTask: (task: string) => void;
}

export function RunSpec({ run, task, setTask }: RunSpecProps) {
  const started = run.tasks.filter((one) => one.attempts.length > 0);
  const chosen = started.find((one) => one.name === task) ?? started.find((one) => one.kind === "train") ?? started[0];
  const spec = useTaskSpec(run.id, chosen?.name ?? "", chosen?.attempts.length ?? 0);
  if (!chosen) return <Empty title="No spec yet">A spec is written when an engine is started on a task.</Empty>;
  return (
    <div className="stack">
      <div className="row">
        <Select
          aria-label="Task"
          value={chosen.name}
          onChange={setTask}
          style={{ width: 220 }}
          options={started.map((one) => ({ value: one.name, label: one.title || one.name }))}
        />
        <span className="muted small">
          Attempt {chosen.attempts.length}. Run it by hand: <code>slipway-{chosen.kind} --spec spec.json --workdir DIR</code>
        </span>
      </div>
      {spec.error ? (
        <ProblemBox problem={toProblem(spec.error)} retry={() => void spec.refetch()} />
      ) : spec.data === undefined ? (
        <Skeleton />
      ) : (
        <CodeBlock text={pretty(spec.data)} label="Spec" />
      )}
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
