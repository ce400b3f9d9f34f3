// Leads from the id of a model or dataset version to its page: lineage graphs know ids alone.
import { Navigate, useParams } from "react-router-dom";
import { toProblem } from "@/api/problems";
import { useDatasetVersion, useModelVersion } from "@/api/queries";
import { ProblemBox, Skeleton } from "@/widgets/feedback";

export function ModelVersionRedirect() {
  const { id = "" } = useParams();
  const version = useModelVersion(id);
  if (version.error) return <ProblemBox problem={toProblem(version.error)} />;
  if (!version.data) return <Skeleton />;
  return <Navigate replace to={`/models/${version.data.modelId}?version=${version.data.version}`} />;
}

export function DatasetVersionRedirect() {
  const { id = "" } = useParams();
  const version = useDatasetVersion(id);
  if (version.error) return <ProblemBox problem={toProblem(version.error)} />;
  if (!version.data) return <Skeleton />;
  return <Navigate replace to={`/data/${version.data.datasetId}?version=${version.data.version}`} />;
}
