// Data: the list of datasets.
import { PlusOutlined } from "@ant-design/icons";
import { Link } from "react-router-dom";
import { toProblem } from "@/api/problems";
import { useList } from "@/api/queries";
import { formatCount, toMillis } from "@/base/format";
import { type Dataset } from "@/gen/slipway/v1/dataset_pb";
import { Empty } from "@/widgets/feedback";
import { LinkButton } from "@/widgets/link_button";
import { Page, Section } from "@/widgets/page";
import { type Column, Table } from "@/widgets/table";
import { Ago } from "@/widgets/time";
import { useUrlText } from "@/widgets/url_state";

const columns: Column<Dataset>[] = [
  {
    key: "name",
    title: "Name",
    width: "minmax(220px, 2fr)",
    sort: (row) => row.name,
    render: (row) => <Link to={`/data/${row.id}`}>{row.name}</Link>,
  },
  {
    key: "rows",
    title: "Rows",
    align: "right",
    sort: (row) => Number(row.latestVersion?.rowCount ?? 0),
    render: (row) => formatCount(row.latestVersion?.rowCount ?? 0),
  },
  { key: "format", title: "Format", width: "160px", render: (row) => row.latestVersion?.mapping?.format ?? "" },
  {
    key: "versions",
    title: "Versions",
    width: "100px",
    align: "right",
    sort: (row) => row.versionCount,
    render: (row) => formatCount(row.versionCount),
  },
  {
    key: "created",
    title: "Created",
    width: "140px",
    sort: (row) => (row.createdAt ? toMillis(row.createdAt) : 0),
    render: (row) => <Ago time={row.createdAt} />,
  },
  { key: "description", title: "Description", extra: true, width: "minmax(200px, 2fr)", render: (row) => row.description },
  { key: "id", title: "Id", extra: true, render: (row) => <code>{row.id}</code> },
];

export default function Datasets() {
  const [shown, settled, set] = useUrlText("filter");
  const list = useList("dataset", settled);
  const importLink = (
    <LinkButton to="/data/import" type="primary" icon={<PlusOutlined />}>
        Import data
      </LinkButton>
  );
  return (
    <Page title="Data" summary="Datasets and their versions: what models learn from." action={importLink}>
      <Section flush label="Datasets">
        <Table
          label="Datasets"
          rows={list.items}
          columns={columns}
          rowKey={(row) => row.id}
          rowLink={(row) => `/data/${row.id}`}
          loading={list.loading}
          problem={list.error && toProblem(list.error)}
          retry={list.reload}
          total={list.total}
          hasMore={list.hasMore}
          loadMore={list.loadMore}
          filter={{ shown, settled, set, hint: "Filter by name" }}
          empty={
            <Empty title="No datasets yet" action={importLink}>
              A dataset is a JSONL file of examples: questions with answers, conversations or plain text. Its versions never
              change, so a run can always be told what it learned from.
            </Empty>
          }
        />
      </Section>
    </Page>
  );
}
