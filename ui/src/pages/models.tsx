// Models: base models and adapters, by name.
import { PlusOutlined } from "@ant-design/icons";
import { Select } from "antd";
import { Link } from "react-router-dom";
import { toProblem } from "@/api/problems";
import { useList } from "@/api/queries";
import { formatBytes, formatCount, formatParameters, toMillis } from "@/base/format";
import { type Model, ModelKind, type ModelVersion } from "@/gen/slipway/v1/model_pb";
import { Empty } from "@/widgets/feedback";
import { LinkButton } from "@/widgets/link_button";
import { Page, Section } from "@/widgets/page";
import { type Column, Table } from "@/widgets/table";
import { Ago } from "@/widgets/time";
import { useUrlState, useUrlText } from "@/widgets/url_state";

export function kindName(version: ModelVersion | undefined): string {
  if (version?.reward) return "Reward model";
  return version?.kind === ModelKind.ADAPTER ? "Adapter" : version?.kind === ModelKind.BASE ? "Base model" : "–";
}

const columns: Column<Model>[] = [
  {
    key: "name",
    title: "Name",
    width: "minmax(220px, 2fr)",
    sort: (row) => row.name,
    render: (row) => <Link to={`/models/${row.id}`}>{row.name}</Link>,
  },
  {
    key: "kind",
    title: "Kind",
    width: "120px",
    sort: (row) => kindName(row.latestVersion),
    render: (row) => kindName(row.latestVersion),
  },
  { key: "family", title: "Family", width: "110px", sort: (row) => row.latestVersion?.family ?? "", render: (row) => row.latestVersion?.family },
  {
    key: "parameters",
    title: "Parameters",
    width: "110px",
    align: "right",
    sort: (row) => Number(row.latestVersion?.parameterCount ?? 0),
    render: (row) => formatParameters(row.latestVersion?.parameterCount ?? 0),
  },
  { key: "format", title: "Format", width: "200px", render: (row) => row.latestVersion?.format },
  {
    key: "size",
    title: "Size",
    width: "110px",
    align: "right",
    sort: (row) => Number(row.latestVersion?.artifact?.size ?? 0),
    render: (row) => formatBytes(row.latestVersion?.artifact?.size ?? 0),
  },
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
    width: "120px",
    sort: (row) => (row.createdAt ? toMillis(row.createdAt) : 0),
    render: (row) => <Ago time={row.createdAt} />,
  },
  { key: "description", title: "Description", extra: true, width: "minmax(200px, 2fr)", render: (row) => row.description },
  { key: "id", title: "Id", extra: true, render: (row) => <code>{row.id}</code> },
];

export default function Models() {
  const [shown, settled, set] = useUrlText("filter");
  const [kind, setKind] = useUrlState("kind");
  const list = useList("model", [settled, kind && `kind:${kind}`].filter(Boolean).join(" "));
  const importLink = (
    <LinkButton to="/models/import" type="primary" icon={<PlusOutlined />}>
        Import a model
      </LinkButton>
  );
  return (
    <Page title="Models" summary="Base models and the adapters made from them." action={importLink}>
      <Section flush label="Models">
        <Table
          label="Models"
          rows={list.items}
          columns={columns}
          rowKey={(row) => row.id}
          rowLink={(row) => `/models/${row.id}`}
          loading={list.loading}
          problem={list.error && toProblem(list.error)}
          retry={list.reload}
          total={list.total}
          hasMore={list.hasMore}
          loadMore={list.loadMore}
          filter={{ shown, settled: settled || kind, set, hint: "Filter by name" }}
          bar={
            <Select
              aria-label="Kind"
              value={kind}
              onChange={setKind}
              style={{ width: 140 }}
              options={[
                { value: "", label: "All kinds" },
                { value: "base", label: "Base models" },
                { value: "adapter", label: "Adapters" },
              ]}
            />
          }
          empty={
            <Empty title="No models yet" action={importLink}>
              Import a GGUF file or a Hugging Face folder to start from. Runs add what they make as new versions.
            </Empty>
          }
        />
      </Section>
    </Page>
  );
}
