// Keys of a deployment: made here, shown once, revoked here.
import { useQueryClient } from "@tanstack/react-query";
import { Button, Input } from "antd";
import { useState } from "react";
import { keys } from "@/api/cache";
import { clients } from "@/api/clients";
import { toProblem } from "@/api/problems";
import { useDeploymentKeys } from "@/api/queries";
import { type Problem } from "@/base/problem";
import { ConfirmButton } from "@/widgets/confirm";
import { SecretOnce } from "@/widgets/copy";
import { ProblemBox, Skeleton } from "@/widgets/feedback";
import { Section } from "@/widgets/page";
import { Ago } from "@/widgets/time";

export function DeploymentKeys({ deploymentId, name }: { deploymentId: string; name: string }) {
  const cache = useQueryClient();
  const list = useDeploymentKeys(deploymentId);
  const [keyName, setKeyName] = useState("");
  const [secret, setSecret] = useState("");
  const [problem, setProblem] = useState<Problem | null>(null);
  const reload = () => cache.invalidateQueries({ queryKey: keys.deploymentKeys(deploymentId) });
  const create = async () => {
    setProblem(null);
    try {
      const response = await clients.deployments.createDeploymentKey({ deploymentId, name: keyName });
      setSecret(response.secret);
      setKeyName("");
      await reload();
    } catch (error) {
      setProblem(toProblem(error));
    }
  };
  return (
    <Section title="Keys">
      <div className="stack">
        <form
          className="row nowrap"
          onSubmit={(event) => {
            event.preventDefault();
            void create();
          }}
        >
          <Input
            value={keyName}
            onChange={(event) => setKeyName(event.target.value)}
            placeholder="Application"
            aria-label="Name of the key"
          />
          <Button htmlType="submit" disabled={!keyName.trim()}>
            Create key
          </Button>
        </form>
        {problem && <ProblemBox problem={problem} />}
        {secret && <SecretOnce secret={secret} what="key" />}
        {list.error && <ProblemBox problem={toProblem(list.error)} retry={() => void list.refetch()} />}
        {list.isPending && <Skeleton rows={2} />}
        {list.data?.length === 0 && <span className="muted">No keys yet: applications need one to call {name}.</span>}
        {list.data?.map((key) => (
          <div key={key.id} className="row nowrap spread">
            <div className="grow">
              <div className="cut">{key.name}</div>
              <div className="muted small">
                Created <Ago time={key.createdAt} />, {key.lastUsedAt ? <>used <Ago time={key.lastUsedAt} /></> : "never used"}
              </div>
            </div>
            <ConfirmButton
              size="small"
              question={`Revoke the key “${key.name}”?`}
              consequence={`Calls of ${name} with it are refused at once.`}
              verb="Revoke"
              toProblem={toProblem}
              act={async () => {
                await clients.deployments.revokeDeploymentKey({ id: key.id });
                await reload();
              }}
            />
          </div>
        ))}
      </div>
    </Section>
  );
}
