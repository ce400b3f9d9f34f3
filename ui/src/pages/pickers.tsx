// What several pages choose from or link to: model and dataset versions by name, nodes.
import { Select } from "antd";
import { Link } from "react-router-dom";
import { useDatasetVersion, useDeployment, useList, useModelVersion, useNode, useRun } from "@/api/queries";
import { formatParameters, plural } from "@/base/format";
import { ModelKind, type ModelVersion } from "@/gen/slipway/v1/model_pb";
import { type Option } from "@/widgets/parameter_field";

export const versionName = (name: string, version: number): string => `${name}@${version}`;

/** The latest versions of base models, newest first; `keep` stays in the list when it is an older one. */
export function useModelOptions(keep = "", kind = ModelKind.BASE): { options: Option[]; loading: boolean } {
  const models = useList("model", "", 500);
  const options = models.items
    .filter(({ latestVersion: latest }) => latest && !latest.reward && (kind === ModelKind.UNSPECIFIED || latest.kind === kind))
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

interface VersionSelectProps {
  /** Id of the version; empty for none. */
  value: string;
  onChange: (version: ModelVersion | undefined) => void;
  /** Which ones may be chosen; all when not given. */
  fits?: (version: ModelVersion) => boolean;
  placeholder?: string;
  /** Said when none fits: how to get one. */
  none?: string;
  allowClear?: boolean;
  /** Where no field names it. */
  label?: string;
  /** From the field around it. */
  id?: string;
  "aria-describedby"?: string;
  "aria-invalid"?: boolean;
}

/** Chooses a model's latest version. One that is chosen stays in the list when it is an older one. */
export function VersionSelect({ value, onChange, fits, placeholder = "Choose a model", none, allowClear = false, label, ...field }: VersionSelectProps) {
  const models = useList("model", "", 500);
  const chosen = useModelVersion(value).data;
  const latest = models.items.flatMap((model) => (model.latestVersion && (!fits || fits(model.latestVersion)) ? [model.latestVersion] : []));
  const versions = chosen && !latest.some((one) => one.id === value) ? [chosen, ...latest] : latest;
  return (
    <Select
      {...field}
      {...(label ? { "aria-label": label } : {})}
      allowClear={allowClear}
      showSearch
      optionFilterProp="label"
      placeholder={placeholder}
      loading={models.loading}
      value={value || null}
      onChange={(next: string | undefined) => onChange(versions.find((one) => one.id === next))}
      options={versions.map((one) => ({ value: one.id, label: versionName(one.modelName, one.version) }))}
      style={{ minWidth: 220 }}
      notFoundContent={none}
    />
  );
}

/** Chooses the chat model that a preview is rendered for. */
export function PreviewModelSelect({ value, onChange }: { value: string; onChange: (versionId: string) => void }) {
  return (
    <VersionSelect
      label="Model that renders the preview"
      allowClear
      value={value}
      fits={(version) => version.hasChatTemplate}
      none="Import a chat model first."
      onChange={(next) => onChange(next?.id ?? "")}
    />
  );
}

/** int8 or int4 for a quantised file (its format is "slipway int8"), else empty. */
export const quantisedAs = (version: ModelVersion | undefined): string => /^slipway (int8|int4)\b/.exec(version?.format ?? "")?.[1] ?? "";

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
