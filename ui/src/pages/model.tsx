// One model: its versions, where they came from and what came from them, their files.
import { Button, Select } from "antd";
import { useState } from "react";
import { Link, useNavigate, useParams } from "react-router-dom";
import { clients } from "@/api/clients";
import { toProblem } from "@/api/problems";
import { useList, useModel, useModelVersion, useModelVersions, useWorkflows } from "@/api/queries";
import { playgroundAddress } from "@/base/addresses";
import { rewardPython } from "@/base/code_samples";
import { formatBytes, formatCount, formatNumber, formatParameters, plural } from "@/base/format";
import { DeploymentState } from "@/gen/slipway/v1/deployment_pb";
import { ModelKind, type ModelVersion } from "@/gen/slipway/v1/model_pb";
import { DeployDialog } from "@/pages/deploy_dialog";
import { LineageView } from "@/pages/lineage_view";
import { kindName } from "@/pages/models";
import { ModelVersionLink, quantisedAs, RunLink, versionName } from "@/pages/pickers";
import { resultName } from "@/pages/run_columns";
import { ConfirmButton } from "@/widgets/confirm";
import { CodeBlock } from "@/widgets/copy";
import { Empty, ProblemBox, Skeleton } from "@/widgets/feedback";
import { LinkButton } from "@/widgets/link_button";
import { Facts, Page, Section } from "@/widgets/page";
import { Table } from "@/widgets/table";
import { UrlTabs } from "@/widgets/tabs";
import { Ago } from "@/widgets/time";
import { useUrlState } from "@/widgets/url_state";

const crumbs = [{ label: "Models", to: "/models" }];

export default function ModelPage() {
  const { id = "" } = useParams();
  const navigate = useNavigate();
  const model = useModel(id);
  const versions = useModelVersions(id);
  const workflows = useWorkflows().data;
  const [versionText, setVersion] = useUrlState("version");
  const [deploying, setDeploying] = useState(false);
  if (model.error) {
    return (
      <Page title="Model" crumbs={crumbs}>
        <ProblemBox problem={toProblem(model.error)} retry={() => void model.refetch()} />
      </Page>
    );
  }
  if (!model.data) return <Skeleton />;
  const { name, description, latestVersion, versionCount } = model.data;
  const version = versions.data?.find((one) => String(one.version) === versionText) ?? latestVersion;
  const workflow = workflows?.find((one) => one.tasks.some((task) => task.kind === "train"));
  const startsFrom = version !== undefined && canStartFrom(version);
  const quantise = workflows?.find((one) => one.tasks.some((task) => task.kind === "quantize"));

  return (
    <Page
      title={name}
      crumbs={crumbs}
      summary={version && `Version ${version.version} · ${kindName(version)} · ${version.family} · ${version.format}`}
      action={
        <>
          <ConfirmButton
            question={`Delete the model “${name}”?`}
            consequence={`All ${plural(versionCount, "version")} go with it. Deployments that serve one, and adapters that need one, prevent it.`}
            verb="Delete"
            toProblem={toProblem}
            act={async () => {
              await clients.models.deleteModel({ id });
              navigate("/models");
            }}
          />
          {quantise && startsFrom && (
            <LinkButton to={`/train/new/${quantise.name}?model=${encodeURIComponent(versionName(name, version.version))}`}>Quantize</LinkButton>
          )}
          {workflow && startsFrom && (
            <LinkButton to={`/train/new/${workflow.name}?model=${encodeURIComponent(versionName(name, version.version))}`}>{workflow.title}</LinkButton>
          )}
          {version && <TryIt version={version} />}
          {!version?.reward && (
            <Button type="primary" disabled={!version} onClick={() => setDeploying(true)}>
              Deploy
            </Button>
          )}
        </>
      }
    >
      {deploying && version && <DeployDialog version={version} close={() => setDeploying(false)} />}
      <div className="detail">
        <Section>
          {version && (
            <UrlTabs
              tabs={[
                {
                  key: "versions",
                  label: `Versions (${formatCount(versionCount)})`,
                  content: () => (
                    <Table
                      plain
                      label="Versions"
                      rows={versions.data ?? []}
                      loading={versions.isPending}
                      problem={versions.error && toProblem(versions.error)}
                      rowKey={(row) => row.id}
                      rowLink={(row) => `/models/${id}?version=${row.version}`}
                      empty={<Empty title="No versions" />}
                      columns={[
                        {
                          key: "version",
                          title: "Version",
                          width: "90px",
                          render: (row) => <Link to={`/models/${id}?version=${row.version}`}>{row.version}</Link>,
                        },
                        { key: "kind", title: "Kind", width: "110px", render: (row) => kindName(row) },
                        { key: "format", title: "Format", width: "200px", render: (row) => row.format },
                        {
                          key: "metrics",
                          title: "Results",
                          width: "minmax(180px, 2fr)",
                          render: (row) =>
                            Object.entries(row.metrics)
                              .map(([key, value]) => `${resultName(key)} ${formatNumber(value)}`)
                              .join(" · "),
                        },
                        {
                          key: "size",
                          title: "Size",
                          width: "100px",
                          align: "right",
                          render: (row) => formatBytes(row.artifact?.size ?? 0),
                        },
                        {
                          key: "run",
                          title: "Made by",
                          width: "90px",
                          render: (row) => (row.runId ? <Link to={`/runs/${row.runId}`}>Run</Link> : "Import"),
                        },
                        { key: "created", title: "Created", width: "110px", render: (row) => <Ago time={row.createdAt} /> },
                      ]}
                    />
                  ),
                },
                ...(version.reward ? [{ key: "use", label: "How to use it", content: () => <RewardUse version={version} /> }] : []),
                { key: "lineage", label: "Lineage", content: () => <LineageView id={version.id} /> },
                { key: "files", label: "Files", content: () => <Files version={version} /> },
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
            {version && (
              <Facts
                facts={[
                  ["Kind", kindName(version)],
                  ["Family", version.family],
                  ["Parameters", version.parameterCount > 0n && formatParameters(version.parameterCount)],
                  ["Context", version.contextLength > 0n && `${formatCount(version.contextLength)} tokens`],
                  ["Format", version.format],
                  ["Size", formatBytes(version.artifact?.size ?? 0)],
                  ["Chat template", version.hasChatTemplate ? "Yes" : "No"],
                  version.baseVersionId
                    ? ["Base", <ModelVersionLink key="base" id={version.baseVersionId} />]
                    : null,
                  version.runId ? ["Made by", <RunLink key="run" id={version.runId} />] : null,
                  ...Object.entries(version.metrics).map(([key, value]): [string, string] => [
                    resultName(key),
                    formatNumber(value),
                  ]),
                  ["Created", <Ago key="created" time={version.createdAt} />],
                  ["Description", version.description || description],
                  ["Version id", <code key="id">{version.id}</code>],
                ]}
              />
            )}
          </div>
        </Section>
      </div>
    </Page>
  );
}

/** Something can be trained or rounded from it. */
const canStartFrom = (version: ModelVersion) => version.kind === ModelKind.BASE && !version.reward && !quantisedAs(version);

/** What a reward model is for, and a program that asks it. */
function RewardUse({ version }: { version: ModelVersion }) {
  return (
    <div className="stack">
      <p>
        It gives an answer one number, higher where the preferences favour it: to rank answers, to filter data, or to train another model against. The
        numbers of two answers to the same question compare; their size says nothing else. It writes no text, so it is not deployed.
      </p>
      <p className="muted">Download its files (tab Files) into one folder, then:</p>
      <CodeBlock text={rewardPython(version.modelName, version.kind === ModelKind.ADAPTER)} label="Python" />
    </div>
  );
}

/** The playground on a ready deployment of this version, beside its base where there is one. */
function TryIt({ version }: { version: ModelVersion }) {
  const ready = useList("deployment", "", 500).items.find(
    (one) => one.state === DeploymentState.READY && [one.modelVersionId, one.baseVersionId].includes(version.id),
  );
  if (!ready) return null;
  const [tuned = ready.name, ...others] = ready.servedNames; // the base is the last
  const base = others.at(-1);
  const address = ready.modelVersionId === version.id ? playgroundAddress(tuned, base) : playgroundAddress(base ?? tuned);
  return <LinkButton to={address}>Try it</LinkButton>;
}

function Files({ version }: { version: ModelVersion }) {
  // Lists leave out an artifact's files.
  const whole = useModelVersion(version.id);
  if (whole.error) return <ProblemBox problem={toProblem(whole.error)} retry={() => void whole.refetch()} />;
  if (!whole.data) return <Skeleton rows={3} />;
  const { artifact } = whole.data;
  if (!artifact) return <Empty title="No files" />;
  return (
    <Table
      plain
      label="Files"
      rows={artifact.files}
      rowKey={(file) => file.path}
      empty={<Empty title="No files" />}
      columns={[
        {
          key: "path",
          title: "File",
          width: "minmax(220px, 2fr)",
          render: (file) => (
            <a href={`/artifacts/${artifact.id}/files/${encodeURI(file.path)}`} download={file.path.replace(/^.*\//, "")}>
              {file.path}
            </a>
          ),
        },
        { key: "size", title: "Size", width: "110px", align: "right", render: (file) => formatBytes(file.size) },
        {
          key: "sha256",
          title: "SHA-256",
          width: "minmax(200px, 2fr)",
          render: (file) => <code title={file.sha256}>{file.sha256}</code>,
        },
      ]}
    />
  );
}
