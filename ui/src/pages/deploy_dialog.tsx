// Asks what a deployment serves, under which name, and how: for a new one, and to change one.
import { useQueryClient } from "@tanstack/react-query";
import { Input, Modal } from "antd";
import { useState } from "react";
import { useNavigate } from "react-router-dom";
import { keys } from "@/api/cache";
import { clients } from "@/api/clients";
import { toProblem } from "@/api/problems";
import { useModelVersion } from "@/api/queries";
import { type Problem } from "@/base/problem";
import { readServing, sentServing, startServing } from "@/base/serving";
import { type Deployment, DeploymentState } from "@/gen/slipway/v1/deployment_pb";
import { type ModelVersion } from "@/gen/slipway/v1/model_pb";
import { quantisedAs, versionName, VersionSelect } from "@/pages/pickers";
import { Field } from "@/widgets/field";
import { ProblemBox } from "@/widgets/feedback";
import { ServingFields } from "@/widgets/serving_fields";

interface DeployDialogProps {
  /** Given: what to deploy is settled. */
  version?: ModelVersion;
  /** Given: this one is changed. */
  deployment?: Deployment;
  close: () => void;
}

export function DeployDialog({ version, deployment, close }: DeployDialogProps) {
  const navigate = useNavigate();
  const cache = useQueryClient();
  const [versionId, setVersionId] = useState(version?.id ?? deployment?.modelVersionId ?? "");
  const [name, setName] = useState(version?.modelName ?? "");
  const [serving, setServing] = useState(deployment?.settings ? readServing(deployment.settings) : startServing);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem | null>(null);
  const chosen = useModelVersion(versionId).data;
  // An adapter's weights are its base's.
  const base = useModelVersion(chosen?.baseVersionId ?? "").data ?? chosen;
  const quantised = quantisedAs(base);
  const save = async () => {
    setBusy(true);
    setProblem(null);
    try {
      // A quantised file is served as it is.
      const settings = sentServing(quantised ? { ...serving, dtype: "auto" } : serving);
      if (deployment) {
        const changed = await clients.deployments.updateDeployment({ id: deployment.id, modelVersionId: versionId, settings });
        cache.setQueryData(keys.one("deployment", deployment.id), changed);
      } else {
        const made = await clients.deployments.createDeployment({ name, modelVersionId: versionId, settings });
        navigate(`/deployments/${made.id}`);
      }
      close();
    } catch (error) {
      setProblem(toProblem(error));
      setBusy(false);
    }
  };
  const down = deployment?.state === DeploymentState.STOPPED || deployment?.state === DeploymentState.FAILED;
  return (
    <Modal
      open
      title={deployment ? `Change ${deployment.name}` : version ? `Deploy ${versionName(version.modelName, version.version)}` : "Deploy a model"}
      okText={deployment ? "Change" : "Deploy"}
      okButtonProps={{ loading: busy, disabled: !versionId || !(name || deployment) }}
      onOk={() => void save()}
      onCancel={close}
    >
      <div className="stack">
        {deployment && (
          <span className="muted">
            {down ? "It is started with the change." : "Calls are answered as before until the change is ready; if it fails, all stays as it is."}
          </span>
        )}
        {!version && (
          <Field label="Model">
            <VersionSelect
              value={versionId}
              fits={(one) => !one.reward}
              onChange={(next) => {
                setVersionId(next?.id ?? "");
                if (!name) setName(next?.modelName ?? "");
              }}
            />
          </Field>
        )}
        {!deployment && (
          <Field label="Name" help="What applications give as model. An adapter's base is served too, as NAME-base.">
            <Input value={name} onChange={(event) => setName(event.target.value)} />
          </Field>
        )}
        <ServingFields value={serving} onChange={setServing} parameters={Number(base?.parameterCount ?? 0n)} quantised={quantised} />
        {problem && <ProblemBox problem={problem} />}
      </div>
    </Modal>
  );
}
