// One node: what it is, what its devices do, live charts.
import { useNavigate, useParams } from "react-router-dom";
import { clients } from "@/api/clients";
import { toProblem } from "@/api/problems";
import { useNode } from "@/api/queries";
import { useWatchScope } from "@/api/watch_context";
import { formatBytes, formatCount } from "@/base/format";
import { NodeState } from "@/gen/slipway/v1/node_pb";
import { NodeCharts } from "@/pages/node_charts";
import { ConfirmButton } from "@/widgets/confirm";
import { ProblemBox, Skeleton } from "@/widgets/feedback";
import { Facts, Page, Section } from "@/widgets/page";
import { nodeLook, StateLabel } from "@/widgets/state";
import { Ago } from "@/widgets/time";

const crumbs = [{ label: "Nodes", to: "/nodes" }];

export default function NodePage() {
  const { id = "" } = useParams();
  const navigate = useNavigate();
  useWatchScope({ samples: true });
  const query = useNode(id);
  if (query.error) {
    return (
      <Page title="Node" crumbs={crumbs}>
        <ProblemBox problem={toProblem(query.error)} retry={() => void query.refetch()} />
      </Page>
    );
  }
  if (!query.data) return <Skeleton />;
  const node = query.data;
  return (
    <Page
      title={node.name}
      crumbs={crumbs}
      state={<StateLabel look={nodeLook(node.state)} live />}
      summary={
        <>
          {node.cpuModel}, {formatCount(node.cpuCores)} cores, {formatBytes(node.memoryBytes)}
        </>
      }
      action={
        node.state === NodeState.OFFLINE && (
          <ConfirmButton
            question={`Remove the node “${node.name}”?`}
            consequence="Its samples are forgotten. Its agent has to join again with a new token."
            verb="Remove"
            toProblem={toProblem}
            act={async () => {
              await clients.nodes.removeNode({ id });
              navigate("/nodes");
            }}
          />
        )
      }
    >
      <div className="detail">
        <div className="stack">
          <Section title="Last ten minutes">
            <NodeCharts nodeId={id} />
          </Section>
        </div>
        <div className="stack">
          <Section title="Devices">
            <div className="stack">
              {node.devices.map((device) => (
                <div key={device.id} className="stack tight">
                  <div className="row nowrap spread">
                    <strong className="cut" title={device.name}>
                      <code>{device.id}</code> {device.name}
                    </strong>
                    <span className={device.attemptId ? "tone-info" : "muted"}>{device.attemptId ? "Busy" : "Free"}</span>
                  </div>
                  {device.memoryBytes > 0n && <span className="muted small">{formatBytes(device.memoryBytes)}</span>}
                </div>
              ))}
            </div>
          </Section>
          <Section title="Facts">
            <Facts
              facts={[
                ["System", node.os],
                ["Processor", node.cpuModel],
                ["Cores", formatCount(node.cpuCores)],
                ["Instructions", node.cpuFeatures.join(", ")],
                ["Memory", formatBytes(node.memoryBytes)],
                ["Disk", formatBytes(node.diskBytes)],
                ["Agent", node.agentVersion],
                ["Joined", <Ago key="joined" time={node.joinedAt} />],
                ["Last seen", <Ago key="seen" time={node.lastSeenAt} />],
                ["Id", <code key="id">{node.id}</code>],
              ]}
            />
          </Section>
        </div>
      </div>
    </Page>
  );
}
