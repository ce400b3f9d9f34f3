// Train: the guided workflows to start from, and the list of runs.
import { PlayCircleOutlined } from "@ant-design/icons";
import { Select } from "antd";
import { Link } from "react-router-dom";
import { clients } from "@/api/clients";
import { toProblem } from "@/api/problems";
import { useList, useWorkflows } from "@/api/queries";
import { plural } from "@/base/format";
import { runColumns } from "@/pages/run_columns";
import { ConfirmButton } from "@/widgets/confirm";
import { Empty, ProblemBox, Skeleton } from "@/widgets/feedback";
import { LinkButton } from "@/widgets/link_button";
import { Page, Section } from "@/widgets/page";
import { runEnded } from "@/widgets/state";
import { Table } from "@/widgets/table";
import { useUrlState, useUrlText } from "@/widgets/url_state";

const states = ["queued", "running", "succeeded", "failed", "cancelled"];

export default function Train() {
  const workflows = useWorkflows();
  const [shown, settled, set] = useUrlText("filter");
  const [state, setState] = useUrlState("state");
  const list = useList("run", [settled, state && `state:${state}`].filter(Boolean).join(" "));
  const first = workflows.data?.[0];

  return (
    <Page
      title="Train"
      summary="Guided workflows, and the runs they became."
      action={
        first && (
          <LinkButton to={`/train/new/${first.name}`} type="primary" icon={<PlayCircleOutlined />}>
              {first.title}
            </LinkButton>
        )
      }
    >
      {workflows.error && <ProblemBox problem={toProblem(workflows.error)} retry={() => void workflows.refetch()} />}
      <div className="columns">
        {workflows.isPending && <Skeleton rows={2} />}
        {workflows.data?.map((workflow) => (
          <Section
            key={workflow.name}
            title={workflow.title}
            extra={<Link to={`/train/new/${workflow.name}`}>Start</Link>}
          >
            <div className="stack tight">
              <p>{workflow.description}</p>
              <p className="muted small">{workflow.tasks.map((task) => task.title || task.name).join(" → ")}</p>
            </div>
          </Section>
        ))}
      </div>
      <Section title="Runs" flush>
        <Table
          label="Runs"
          rows={list.items}
          columns={runColumns}
          rowKey={(row) => row.id}
          rowLink={(row) => `/runs/${row.id}`}
          loading={list.loading}
          problem={list.error && toProblem(list.error)}
          retry={list.reload}
          total={list.total}
          hasMore={list.hasMore}
          loadMore={list.loadMore}
          filter={{ shown, settled: settled || state, set, hint: "Filter by name or id" }}
          bar={
            <Select
              aria-label="State"
              value={state}
              onChange={setState}
              style={{ width: 140 }}
              options={[
                { value: "", label: "All states" },
                ...states.map((one) => ({ value: one, label: one.charAt(0).toUpperCase() + one.slice(1) })),
              ]}
            />
          }
          selection={(selected, clear) => {
            const going = selected.filter((run) => !runEnded(run.state));
            return (
              <>
              <LinkButton to={`/train/compare?runs=${selected.map((run) => run.id).join(".")}`} disabled={selected.length < 2}>
                Compare
              </LinkButton>
              <ConfirmButton
                danger
                disabled={going.length === 0}
                question={`Cancel ${plural(going.length, "run")}?`}
                consequence="Their engines save a checkpoint and leave; each run can be resumed from there."
                verb="Cancel runs"
                toProblem={toProblem}
                act={async () => {
                  await Promise.all(going.map((run) => clients.runs.cancelRun({ id: run.id })));
                  clear();
                }}
              />
              </>
            );
          }}
          empty={
            <Empty
              title="No runs yet"
              action={first && <Link to={`/train/new/${first.name}`}>Start the first one</Link>}
            >
              A run takes a model and a dataset through the tasks of a workflow. It goes on when this page is closed.
            </Empty>
          }
        />
      </Section>
    </Page>
  );
}
