// The adapters that a deployment serves beside what it was made for: load, try, unload.
import { useQueryClient } from "@tanstack/react-query";
import { Button, Input, Modal } from "antd";
import { useState } from "react";
import { keys } from "@/api/cache";
import { clients } from "@/api/clients";
import { toProblem } from "@/api/problems";
import { playgroundAddress } from "@/base/addresses";
import { toMillis } from "@/base/format";
import { type Problem } from "@/base/problem";
import { type Deployment, type DeploymentAdapter, DeploymentAdapter_State } from "@/gen/slipway/v1/deployment_pb";
import { ModelKind } from "@/gen/slipway/v1/model_pb";
import { ModelVersionLink, VersionSelect } from "@/pages/pickers";
import { Empty, ProblemBox } from "@/widgets/feedback";
import { Field } from "@/widgets/field";
import { LinkButton } from "@/widgets/link_button";
import { Section } from "@/widgets/page";
import { adapterLook, StateLabel } from "@/widgets/state";
import { Table } from "@/widgets/table";
import { Ago } from "@/widgets/time";
import { useUrlState } from "@/widgets/url_state";

// Called within this time it counts as in use: its unloading is asked about.
const inUseMs = 10 * 60_000;

export function DeploymentAdapters({ deployment }: { deployment: Deployment }) {
  const [dialog, setDialog] = useUrlState("load");
  const load = (
    <Button size="small" onClick={() => setDialog("1")}>
      Load an adapter
    </Button>
  );
  return (
    <Section title="Adapters" extra={load} flush>
      {dialog === "1" && <LoadDialog deployment={deployment} close={() => setDialog("")} />}
      <AdapterTable deployment={deployment} />
    </Section>
  );
}

function AdapterTable({ deployment }: { deployment: Deployment }) {
  const cache = useQueryClient();
  const [problem, setProblem] = useState<Problem | null>(null);
  const [asked, setAsked] = useState<DeploymentAdapter | null>(null);
  const [undo, setUndo] = useState<DeploymentAdapter | null>(null);
  const base = deployment.servedNames[deployment.servedNames.length - 1] ?? deployment.name;
  const show = (changed: Deployment) => cache.setQueryData(keys.one("deployment", deployment.id), changed);
  const act = async (call: () => Promise<unknown>) => {
    setProblem(null);
    try {
      await call();
    } catch (error) {
      setProblem(toProblem(error));
    }
  };
  const unload = (adapter: DeploymentAdapter) =>
    act(async () => {
      setAsked(null);
      show(await clients.deployments.unloadAdapter({ deploymentId: deployment.id, name: adapter.name }));
      setUndo(adapter);
    });
  const ask = (adapter: DeploymentAdapter) =>
    act(async () => {
      const now = await clients.deployments.getDeployment({ id: deployment.id });
      const last = now.adapters.find((one) => one.name === adapter.name);
      if (last?.lastCalledAt && Date.now() - toMillis(last.lastCalledAt) < inUseMs) setAsked(last);
      else await unload(adapter);
    });
  return (
    <div>
      {problem && <ProblemBox problem={problem} />}
      {undo && (
        <div className="table-bar" role="status">
          <span className="grow">
            <code>{undo.name}</code> is unloaded.
          </span>
          <Button
            size="small"
            onClick={() =>
              void act(async () => {
                const { name, modelVersionId } = undo;
                show(await clients.deployments.loadAdapter({ deploymentId: deployment.id, name, modelVersionId }));
                setUndo(null);
              })
            }
          >
            Undo
          </Button>
        </div>
      )}
      <Table
        plain
        label="Adapters"
        rows={deployment.adapters}
        rowKey={(row) => row.name}
        empty={
          <Empty title="No further adapters">
            Many adapters of one base share its weights: load one under a name of its own, while calls go on.
          </Empty>
        }
        columns={[
          { key: "name", title: "Name", width: "minmax(140px, 1fr)", render: (row) => <Names all={row.servedNames} /> },
          {
            key: "state",
            title: "State",
            width: "120px",
            render: (row) => (
              <span title={row.error?.message}>
                <StateLabel look={adapterLook(row.state)} />
              </span>
            ),
          },
          { key: "model", title: "Model", width: "minmax(120px, 1fr)", render: (row) => <ModelVersionLink id={row.modelVersionId} /> },
          { key: "created", title: "Loaded", width: "100px", render: (row) => <Ago time={row.createdAt} /> },
          {
            key: "actions",
            title: "",
            width: "150px",
            render: (row) => (
              <span className="row nowrap">
                <LinkButton size="small" to={playgroundAddress(row.name, base)} disabled={row.state !== DeploymentAdapter_State.LOADED}>
                  Try
                </LinkButton>
                <Button size="small" onClick={() => void ask(row)}>
                  Unload
                </Button>
              </span>
            ),
          },
        ]}
      />
      {deployment.adapters.map((one) => one.error?.message && <ProblemBox key={one.name} title={one.name} problem={{ ...one.error, field: "", violations: [], transient: false }} />)}
      {asked && (
        <Modal
          open
          title={`Unload the adapter “${asked.name}”?`}
          okText="Unload"
          okButtonProps={{ danger: true }}
          cancelText="Keep"
          onOk={() => void unload(asked)}
          onCancel={() => setAsked(null)}
        >
          It was called <Ago time={asked.lastCalledAt} />. Calls that name it get an error from then on; answers that are being
          written end.
        </Modal>
      )}
    </div>
  );
}

/** Of an adapter of several tasks, which have a name each, the first and the last. */
function Names({ all }: { all: readonly string[] }) {
  const last = all[all.length - 1];
  return (
    <span title={all.join("\n")}>
      <code>{all[0]}</code>
      {all.length > 1 && <span className="muted"> to {last?.slice(all[0]?.length)}</span>}
    </span>
  );
}

function LoadDialog({ deployment, close }: { deployment: Deployment; close: () => void }) {
  const cache = useQueryClient();
  const base = deployment.baseVersionId || deployment.modelVersionId;
  const [versionId, setVersionId] = useState("");
  const [name, setName] = useState("");
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem | null>(null);
  const load = async () => {
    setBusy(true);
    setProblem(null);
    try {
      const changed = await clients.deployments.loadAdapter({ deploymentId: deployment.id, name, modelVersionId: versionId });
      cache.setQueryData(keys.one("deployment", deployment.id), changed);
      close();
    } catch (error) {
      setProblem(toProblem(error));
      setBusy(false);
    }
  };
  return (
    <Modal
      open
      title={`Load an adapter into ${deployment.name}`}
      okText="Load"
      okButtonProps={{ loading: busy, disabled: !name || !versionId }}
      onOk={() => void load()}
      onCancel={close}
    >
      <div className="stack">
        <Field label="Adapter" help="Those that were trained on this deployment's base.">
          <VersionSelect
            value={versionId}
            fits={(version) => version.kind === ModelKind.ADAPTER && !version.reward && version.baseVersionId === base}
            placeholder="Choose an adapter"
            none="No adapter of this base is registered."
            onChange={(next) => {
              setVersionId(next?.id ?? "");
              if (!name) setName(next?.modelName ?? "");
            }}
          />
        </Field>
        <Field label="Name" help="What applications give as model.">
          <Input value={name} onChange={(event) => setName(event.target.value)} />
        </Field>
        {problem && <ProblemBox problem={problem} />}
      </div>
    </Modal>
  );
}
