// The tasks of a run: their graph, what runs now with rate and time left, and one task's attempts.
import { CloseOutlined } from "@ant-design/icons";
import { Button, Progress } from "antd";
import { formatCount, formatDone, formatDuration, formatNumber } from "@/base/format";
import { withoutImplied } from "@/base/graph_layout";
import { decodeText } from "@/base/parameters";
import { type Run, type Task, TaskState } from "@/gen/slipway/v1/run_pb";
import { NodeLink } from "@/pages/pickers";
import { currentTask } from "@/pages/run_columns";
import { type RunMetrics } from "@/pages/run_metrics";
import { ProblemBox } from "@/widgets/feedback";
import { Graph } from "@/widgets/graph";
import { Facts, Figure, Section } from "@/widgets/page";
import { StateLabel, taskLook } from "@/widgets/state";
import { Elapsed } from "@/widgets/time";

interface TaskGraphProps {
  run: Run;
  selected: string;
  select: (name: string) => void;
}

export function TaskGraph({ run, selected, select }: TaskGraphProps) {
  return (
    <Graph
      label="Tasks of the run"
      nodes={run.tasks.map((task) => {
        const look = taskLook(task.state);
        const title = task.title || task.name;
        const running = task.state === TaskState.RUNNING && task.progress && task.progress.total > 0n;
        return {
          id: task.name,
          label: `${title}: ${look.word}${task.waitingReason ? `, ${task.waitingReason}` : ""}`,
          selected: task.name === selected,
          onClick: () => select(task.name),
          ...(running ? { progress: Number(task.progress!.done) / Number(task.progress!.total) } : {}),
          content: (
            <>
              <div className="name">{title}</div>
              <div className="row nowrap spread small">
                <StateLabel look={look} />
                {task.startedAt && (
                  <span className="muted">
                    <Elapsed start={task.startedAt} end={task.finishedAt} />
                  </span>
                )}
              </div>
            </>
          ),
        };
      })}
      edges={withoutImplied(run.tasks.flatMap((task) => task.needs.map((need) => ({ from: need, to: task.name }))))}
    />
  );
}

export function RunProgress({ run, metrics }: { run: Run; metrics: RunMetrics }) {
  const task = currentTask(run);
  if (!task || task.state !== TaskState.RUNNING) return null;
  const { progress } = task;
  const known = progress !== undefined && progress.total > 0n;
  const loss = metrics.latest("loss");
  const speed = metrics.latest("tokens_per_second");
  const attempt = task.attempts[task.attempts.length - 1];
  return (
    <Section title={`Now: ${task.title || task.name}`}>
      <div className="stack">
        <div className="figures">
          {progress && (
            <Figure
              label={progress.phase || "Progress"}
              value={formatDone(progress.done, progress.total, progress.unit)}
            />
          )}
          {known && progress.etaS >= 0 && <Figure label="Time left" value={formatDuration(progress.etaS)} />}
          {task.kind === "train" && loss !== undefined && <Figure label="Loss" value={formatNumber(loss)} />}
          {task.kind === "train" && speed !== undefined && <Figure label="Tokens/s" value={formatNumber(speed, 3)} />}
          {task.kind === "train" && <RankFigure run={run} metrics={metrics} />}
          <Figure label="Running for" value={<Elapsed start={task.startedAt} />} />
          {attempt && attempt.nodeId && (
            <Figure label="On" value={<NodeLink id={attempt.nodeId} device={attempt.device} />} />
          )}
        </div>
        {known && (
          <Progress
            percent={Number(((Number(progress.done) / Number(progress.total)) * 100).toFixed(1))}
            status="active"
            aria-label="Progress of the task"
          />
        )}
      </div>
    </Section>
  );
}

/** How many ranks share the training now; nothing where one does it all. */
function RankFigure({ run, metrics }: { run: Run; metrics: RunMetrics }) {
  const wanted = Number(decodeText(run.parameters["ranks"]) ?? 1);
  if (!(wanted > 1)) return null;
  const now = metrics.latest("ranks");
  const fewer = now !== undefined && now < wanted;
  return (
    <Figure
      label="Ranks"
      value={<span className={fewer ? "tone-warn" : ""} title={fewer ? "Lost ones come back at a checkpoint" : undefined}>{now === undefined ? formatCount(wanted) : `${formatCount(now)} of ${formatCount(wanted)}`}</span>}
    />
  );
}

const stateWord = (state: string) => state.charAt(0) + state.slice(1).toLowerCase();

export function TaskDetails({ task, close }: { task: Task; close: () => void }) {
  return (
    <Section
      title={`Task: ${task.title || task.name}`}
      extra={<Button type="text" size="small" icon={<CloseOutlined />} aria-label="Close" onClick={close} />}
    >
      <div className="stack">
        <Facts
          facts={[
            ["State", <StateLabel key="state" look={taskLook(task.state)} />],
            ["Kind", task.kind],
            ["Waits", task.waitingReason],
            ["Time", task.startedAt && <Elapsed key="time" start={task.startedAt} end={task.finishedAt} />],
          ]}
        />
        {task.error && <ProblemBox problem={{ ...task.error, field: "", violations: [], transient: false }} />}
        {task.attempts.length > 0 && (
          <div style={{ overflowX: "auto" }}>
          <table className="plain-table small">
            <caption className="hidden-visually">Attempts</caption>
            <thead>
              <tr>
                <th scope="col">Attempt</th>
                <th scope="col">State</th>
                <th scope="col">On</th>
                <th scope="col">Exit</th>
                <th scope="col">Time</th>
              </tr>
            </thead>
            <tbody>
              {task.attempts.map((attempt) => (
                <tr key={attempt.id}>
                  <td>{attempt.number}</td>
                  <td>{stateWord(attempt.state)}</td>
                  <td>
                    {attempt.ranks.map((rank) => (
                      <div key={rank.rank} className="nowrap">
                        {`Rank ${rank.rank}: `}
                        <NodeLink id={rank.nodeId} device={rank.device} />
                        {rank.state !== attempt.state && ` (${stateWord(rank.state)})`}
                      </div>
                    ))}
                    {attempt.ranks.length === 0 && (attempt.nodeId ? <NodeLink id={attempt.nodeId} device={attempt.device} /> : "–")}
                  </td>
                  <td>{attempt.exitCode ?? "–"}</td>
                  <td>
                    <Elapsed start={attempt.startedAt} end={attempt.finishedAt} />
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
          </div>
        )}
      </div>
    </Section>
  );
}
