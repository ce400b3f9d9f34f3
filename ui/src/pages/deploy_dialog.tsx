// Asks what a new deployment is called and what it serves.
import { Input, Modal, Select } from "antd";
import { useState } from "react";
import { useNavigate } from "react-router-dom";
import { clients } from "@/api/clients";
import { toProblem } from "@/api/problems";
import { useList } from "@/api/queries";
import { type Problem } from "@/base/problem";
import { type ModelVersion } from "@/gen/slipway/v1/model_pb";
import { versionName } from "@/pages/pickers";
import { Field } from "@/widgets/field";
import { ProblemBox } from "@/widgets/feedback";

interface DeployDialogProps {
  /** Given: what to deploy is settled. */
  version?: ModelVersion;
  close: () => void;
}

export function DeployDialog({ version, close }: DeployDialogProps) {
  const navigate = useNavigate();
  const models = useList("model", "", 500);
  const [versionId, setVersionId] = useState(version?.id ?? "");
  const [name, setName] = useState(version ? version.modelName : "");
  const [dtype, setDtype] = useState("auto");
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem | null>(null);
  const latest = models.items.flatMap((model) => (model.latestVersion ? [model.latestVersion] : []));
  const deploy = async () => {
    setBusy(true);
    setProblem(null);
    try {
      const deployment = await clients.deployments.createDeployment({ name, modelVersionId: versionId, dtype });
      close();
      navigate(`/deployments/${deployment.id}`);
    } catch (error) {
      setProblem(toProblem(error));
      setBusy(false);
    }
  };
  return (
    <Modal
      open
      title={version ? `Deploy ${versionName(version.modelName, version.version)}` : "Deploy a model"}
      okText="Deploy"
      okButtonProps={{ loading: busy, disabled: !name || !versionId }}
      onOk={() => void deploy()}
      onCancel={close}
    >
      <div className="stack">
        {!version && (
          <Field label="Model">
            <Select
              showSearch
              optionFilterProp="label"
              loading={models.loading}
              value={versionId || null}
              placeholder="Choose a model"
              onChange={(next: string) => {
                setVersionId(next);
                if (!name) setName(latest.find((one) => one.id === next)?.modelName ?? "");
              }}
              options={latest.map((one) => ({ value: one.id, label: versionName(one.modelName, one.version) }))}
            />
          </Field>
        )}
        <Field label="Name" help="What applications give as model. An adapter's base is served too, as NAME-base.">
          <Input value={name} onChange={(event) => setName(event.target.value)} />
        </Field>
        <Field label="Precision" help="Auto keeps what suits the device; bf16 halves the memory of f32.">
          <Select
            value={dtype}
            onChange={setDtype}
            options={["auto", "f32", "bf16"].map((value) => ({ value, label: value }))}
          />
        </Field>
        {problem && <ProblemBox problem={problem} />}
      </div>
    </Modal>
  );
}
