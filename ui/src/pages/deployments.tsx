// Deployments: the served names.
import { PlusOutlined } from "@ant-design/icons";
import { Button } from "antd";
import { Link } from "react-router-dom";
import { toProblem } from "@/api/problems";
import { useList } from "@/api/queries";
import { toMillis } from "@/base/format";
import { type Deployment } from "@/gen/slipway/v1/deployment_pb";
import { DeployDialog } from "@/pages/deploy_dialog";
import { Empty } from "@/widgets/feedback";
import { LinkButton } from "@/widgets/link_button";
import { Page, Section } from "@/widgets/page";
import { deploymentLook, StateLabel } from "@/widgets/state";
import { type Column, Table } from "@/widgets/table";
import { Ago } from "@/widgets/time";
import { useUrlState, useUrlText } from "@/widgets/url_state";

const columns: Column<Deployment>[] = [
  {
    key: "name",
    title: "Name",
    width: "minmax(200px, 2fr)",
    sort: (row) => row.name,
    render: (row) => <Link to={`/deployments/${row.id}`}>{row.name}</Link>,
  },
  {
    key: "state",
    title: "State",
    width: "130px",
    sort: (row) => deploymentLook(row.state).word,
    render: (row) => <StateLabel look={deploymentLook(row.state)} />,
  },
  { key: "model", title: "Serves", width: "minmax(160px, 1fr)", sort: (row) => row.modelLabel, render: (row) => row.modelLabel },
  { key: "base", title: "Base", width: "minmax(160px, 1fr)", render: (row) => row.baseLabel },
  {
    key: "now",
    title: "Now",
    width: "minmax(140px, 1fr)",
    render: (row) => <span className="muted">{row.error?.message || row.waitingReason}</span>,
  },
  { key: "dtype", title: "Weights", width: "100px", extra: true, render: (row) => row.settings?.dtype },
  {
    key: "created",
    title: "Created",
    width: "120px",
    sort: (row) => (row.createdAt ? toMillis(row.createdAt) : 0),
    render: (row) => <Ago time={row.createdAt} />,
  },
  { key: "id", title: "Id", extra: true, render: (row) => <code>{row.id}</code> },
];

export default function Deployments() {
  const [shown, settled, set] = useUrlText("filter");
  const [dialog, setDialog] = useUrlState("new");
  const list = useList("deployment", settled);
  const create = (
    <Button type="primary" icon={<PlusOutlined />} onClick={() => setDialog("1")}>
      Deploy a model
    </Button>
  );
  const actions = (
    <>
      <LinkButton to="/deployments/playground">Playground</LinkButton>
      {create}
    </>
  );
  return (
    <Page title="Deployments" summary="Models that applications call over the OpenAI API." action={actions}>
      {dialog === "1" && <DeployDialog close={() => setDialog("")} />}
      <Section flush label="Deployments">
        <Table
          label="Deployments"
          rows={list.items}
          columns={columns}
          rowKey={(row) => row.id}
          rowLink={(row) => `/deployments/${row.id}`}
          loading={list.loading}
          problem={list.error && toProblem(list.error)}
          retry={list.reload}
          total={list.total}
          hasMore={list.hasMore}
          loadMore={list.loadMore}
          filter={{ shown, settled, set, hint: "Filter by name" }}
          empty={
            <Empty title="Nothing is deployed" action={create}>
              A deployment serves a model under a name of yours. A run of Fine-tune and deploy makes one by itself when the
              tuned model is better.
            </Empty>
          }
        />
      </Section>
    </Page>
  );
}
