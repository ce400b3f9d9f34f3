// What several pages choose from or link to: model and dataset versions by name, nodes.
import { Select } from "antd";
import { Link } from "react-router-dom";
import { useDatasetVersion, useDeployment, useList, useModelVersion, useNode, useRun } from "@/api/queries";
import { formatParameters, plural } from "@/base/format";
import { ModelKind } from "@/gen/slipway/v1/model_pb";
import { type Option } from "@/widgets/parameter_field";

export const versionName = (name: string, version: number): string => `${name}@${version}`;

/** The latest versions of base models, newest first; `keep` stays in the list when it is an older one. */
export function useModelOptions(keep = "", kind = ModelKind.BASE): { options: Option[]; loading: boolean } {
  const models = useList("model", "", 500);
  const options = models.items
    .filter((model) => model.latestVersion && (kind === ModelKind.UNSPECIFIED || model.latestVersion.kind === kind))
    .map((model): Option => {
      const latest = model.latestVersion!;
      const label = versionName(model.name, latest.version);
      return { value: label, label, note: `${latest.family} ${formatParameters(latest.parameterCount)}` };
    });
  if (keep && !options.some((one) => one.value === keep)) options.push({ value: keep, label: keep, note: "" });
  return { options, loading: models.loading };
}

export function useDatasetOptions(keep = ""): { options: Option[]; loading: boolean } {
  const datasets = useList("dataset", "", 500);
  const options = datasets.items
    .filter((dataset) => dataset.latestVersion)
    .map((dataset): Option => {
      const label = versionName(dataset.name, dataset.latestVersion!.version);
      return { value: label, label, note: plural(dataset.latestVersion!.rowCount, "row") };
    });
  if (keep && !options.some((one) => one.value === keep)) options.push({ value: keep, label: keep, note: "" });
  return { options, loading: datasets.loading };
}

/** What previews are rendered for until a model is chosen: a base model before the adapters made from it. */
export function useFirstChatModel(): string {
  const chat = useList("model", "", 500)
    .items.flatMap((model) => (model.latestVersion ? [model.latestVersion] : []))
    .filter((version) => version.hasChatTemplate);
  return (chat.find((version) => version.kind === ModelKind.BASE) ?? chat[0])?.id ?? "";
}

interface ModelVersionSelectProps {
  value: string;
  onChange: (versionId: string) => void;
  id?: string;
}

/** Chooses a model's latest version by its id: for previews. */
export function ModelVersionSelect({ value, onChange, id }: ModelVersionSelectProps) {
  const models = useList("model", "", 500);
  const options = models.items
    .filter((model) => model.latestVersion?.hasChatTemplate)
    .map((model) => ({
      value: model.latestVersion!.id,
      label: versionName(model.name, model.latestVersion!.version),
    }));
  return (
    <Select
      {...(id ? { id } : {})}
      allowClear
      showSearch
      optionFilterProp="label"
      placeholder="Choose a model"
      aria-label="Model that renders the preview"
      loading={models.loading}
      value={value || null}
      onChange={(next: string | undefined) => onChange(next ?? "")}
      options={options}
      style={{ minWidth: 220 }}
      notFoundContent="Import a chat model first."
    />
  );
}

/** A model version by its id, as a link with its name. */
export function ModelVersionLink({ id }: { id: string }) {
  const version = useModelVersion(id).data;
  if (!version) return <span className="mono">{id}</span>;
  return (
    <Link to={`/models/${version.modelId}?version=${version.version}`}>
      {versionName(version.modelName, version.version)}
    </Link>
  );
}

/** A dataset version by id or name@version, as a link. */
export function DatasetVersionLink({ id }: { id: string }) {
  const version = useDatasetVersion(id).data;
  if (!version) return <span className="mono">{id}</span>;
  return (
    <Link to={`/data/${version.datasetId}?version=${version.version}`}>
      {versionName(version.datasetName, version.version)}
    </Link>
  );
}

/** A run by its id, as a link with its name. */
export function RunLink({ id }: { id: string }) {
  const run = useRun(id).data;
  return <Link to={`/runs/${id}`}>{run?.name || "Run"}</Link>;
}

/** A node by its id, as a link with its name, and the device on it. */
export function NodeLink({ id, device = "" }: { id: string; device?: string }) {
  const node = useNode(id).data;
  return (
    <Link to={`/nodes/${id}`}>
      {node?.name ?? "Node"}
      {device && ` ${device}`}
    </Link>
  );
}

/** A deployment by its id, as a link with its name. */
export function DeploymentLink({ id }: { id: string }) {
  const deployment = useDeployment(id).data;
  return <Link to={`/deployments/${id}`}>{deployment?.name ?? "Deployment"}</Link>;
}
