// One dataset: its rows as a model sees them, its versions, where it was used.
import { Select } from "antd";
import { useNavigate, useParams } from "react-router-dom";
import { clients } from "@/api/clients";
import { toProblem } from "@/api/problems";
import { useDataset, useDatasetVersion, useDatasetVersions, usePreview, useWorkflows } from "@/api/queries";
import { formatBytes, formatCount, plural } from "@/base/format";
import { type DatasetVersion } from "@/gen/slipway/v1/dataset_pb";
import { LineageView } from "@/pages/lineage_view";
import { PreviewModelSelect, RunLink, useFirstChatModel, versionName } from "@/pages/pickers";
import { PreviewRows } from "@/pages/preview_rows";
import { ConfirmButton } from "@/widgets/confirm";
import { Empty, ProblemBox, Skeleton } from "@/widgets/feedback";
import { LinkButton } from "@/widgets/link_button";
import { Facts, Page, Section } from "@/widgets/page";
import { Table } from "@/widgets/table";
import { UrlTabs } from "@/widgets/tabs";
import { Ago } from "@/widgets/time";
import { useUrlState } from "@/widgets/url_state";

const crumbs = [{ label: "Data", to: "/data" }];

export default function DatasetPage() {
  const { id = "" } = useParams();
  const navigate = useNavigate();
  const dataset = useDataset(id);
  const versions = useDatasetVersions(id);
  const workflows = useWorkflows().data;
  const [versionText, setVersion] = useUrlState("version");
  const version =
    versions.data?.find((one) => String(one.version) === versionText) ?? dataset.data?.latestVersion;
  // Lists leave out an artifact's files.
  const whole = useDatasetVersion(version?.id ?? "").data;
  if (dataset.error) {
    return (
      <Page title="Dataset" crumbs={crumbs}>
        <ProblemBox problem={toProblem(dataset.error)} retry={() => void dataset.refetch()} />
      </Page>
    );
  }
  if (!dataset.data) return <Skeleton />;
  const { name, description, versionCount } = dataset.data;
  const fitting = workflows?.filter((one) => one.parameters.some((parameter) => parameter.type === "dataset"));
  const byPreference = version?.mapping?.format === "preference";
  const workflow = fitting?.find((one) => one.parameters.some((parameter) => parameter.name === "objective") === byPreference);

  return (
    <Page
      title={name}
      crumbs={crumbs}
      summary={
        version &&
        [`Version ${version.version}`, plural(version.rowCount, "row"), whole?.artifact && formatBytes(whole.artifact.size)]
          .filter(Boolean)
          .join(" · ")
      }
      action={
        <>
          <ConfirmButton
            question={`Delete the dataset “${name}”?`}
            consequence={`All ${plural(versionCount, "version")} go with it. Models that were trained on it stay.`}
            verb="Delete"
            toProblem={toProblem}
            act={async () => {
              await clients.datasets.deleteDataset({ id });
              navigate("/data");
            }}
          />
          {workflow && version && (
            <LinkButton to={`/train/new/${workflow.name}?dataset=${encodeURIComponent(versionName(name, version.version))}`} type="primary">{workflow.title}</LinkButton>
          )}
        </>
      }
    >
      <div className="detail">
        <Section>
          {version && (
            <UrlTabs
              tabs={[
                { key: "rows", label: "Rows", content: () => <Rows version={version} /> },
                {
                  key: "versions",
                  label: `Versions (${formatCount(versionCount)})`,
                  content: () => (
                    <Table
                      plain
                      label="Versions"
                      rows={versions.data ?? []}
                      loading={versions.isPending}
                      rowKey={(row) => row.id}
                      rowLink={(row) => `/data/${id}?version=${row.version}`}
                      empty={<Empty title="No versions" />}
                      columns={[
                        { key: "version", title: "Version", width: "90px", render: (row) => row.version },
                        { key: "rows", title: "Rows", align: "right", render: (row) => formatCount(row.rowCount) },
                        { key: "format", title: "Format", render: (row) => row.mapping?.format ?? "" },
                        { key: "created", title: "Created", render: (row) => <Ago time={row.createdAt} /> },
                      ]}
                    />
                  ),
                },
                { key: "lineage", label: "Lineage", content: () => <LineageView id={version.id} /> },
              ]}
            />
          )}
        </Section>
        <Section title="Facts">
          <div className="stack">
            {(versions.data?.length ?? 0) > 1 && (
              <Select
                aria-label="Version"
                value={version?.version ?? null}
                onChange={(next) => setVersion(String(next))}
                options={versions.data?.map((one) => ({ value: one.version, label: `Version ${one.version}` })) ?? []}
              />
            )}
            {version && <VersionFacts version={whole ?? version} description={description} />}
          </div>
        </Section>
      </div>
    </Page>
  );
}

function VersionFacts({ version, description }: { version: DatasetVersion; description: string }) {
  return (
    <Facts
      facts={[
        ["Rows", formatCount(version.rowCount)],
        ["Size", version.artifact && version.artifact.size > 0n && formatBytes(version.artifact.size)],
        ["Format", version.mapping?.format],
        ...Object.entries(version.mapping?.roles ?? {}).map(([role, column]): [string, string] => [`Role ${role}`, column]),
        ["Created", <Ago key="created" time={version.createdAt} />],
        version.runId ? ["Made by", <RunLink key="run" id={version.runId} />] : null,
        ["Description", description],
        ["Version id", <code key="id">{version.id}</code>],
        ["Artifact", <code key="artifact" title={version.artifact?.id}>{version.artifact?.id.slice(0, 16)}</code>],
        [
          "Files",
          version.artifact && version.artifact.files.length > 0 && version.artifact.files.map((file) => (
            <div key={file.path}>
              <a href={`/artifacts/${version.artifact?.id}/files/${encodeURI(file.path)}`} download>
                {file.path}
              </a>
            </div>
          )),
        ],
      ]}
    />
  );
}

function Rows({ version }: { version: DatasetVersion }) {
  const [modelText, setModel] = useUrlState("model");
  const [row, setRow] = useUrlState("row", "0");
  const firstChat = useFirstChatModel();
  const modelVersionId = modelText || firstChat;
  const offset = Math.max(0, Number(row) || 0);
  const preview = usePreview({
    datasetVersionId: version.id,
    format: version.mapping?.format ?? "",
    roles: version.mapping?.roles ?? {},
    modelVersionId,
    rows: 1,
    offset,
  });
  return (
    <div className="stack">
      <label className="row">
        Rendered for <PreviewModelSelect value={modelVersionId} onChange={setModel} />
      </label>
      <PreviewRows preview={preview} offset={offset} setOffset={(next) => setRow(String(next))} />
    </div>
  );
}
