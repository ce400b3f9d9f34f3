// Nodes: machines with an agent, what they have and what they do.
import { PlusOutlined } from "@ant-design/icons";
import { useQueryClient } from "@tanstack/react-query";
import { Button, Modal } from "antd";
import { useCallback, useEffect, useState } from "react";
import { Link } from "react-router-dom";
import { keys } from "@/api/cache";
import { clients } from "@/api/clients";
import { toProblem } from "@/api/problems";
import { useList } from "@/api/queries";
import { useChanges, useWatchScope } from "@/api/watch_context";
import { formatBytes, formatCount, formatPercent } from "@/base/format";
import { type Problem } from "@/base/problem";
import { type CreateJoinTokenResponse, type Node, type NodeSample, NodeState } from "@/gen/slipway/v1/node_pb";
import { CodeBlock } from "@/widgets/copy";
import { Empty, ProblemBox, Skeleton } from "@/widgets/feedback";
import { Page, Section } from "@/widgets/page";
import { nodeLook, StateLabel } from "@/widgets/state";
import { type Column, Table } from "@/widgets/table";
import { Ago } from "@/widgets/time";
import { useUrlState, useUrlText } from "@/widgets/url_state";

interface Row {
  node: Node;
  sample: NodeSample | undefined;
}

const columns: Column<Row>[] = [
  {
    key: "name",
    title: "Name",
    width: "minmax(180px, 2fr)",
    sort: ({ node }) => node.name,
    render: ({ node }) => <Link to={`/nodes/${node.id}`}>{node.name}</Link>,
  },
  {
    key: "state",
    title: "State",
    width: "110px",
    sort: ({ node }) => nodeLook(node.state).word,
    render: ({ node }) => <StateLabel look={nodeLook(node.state)} />,
  },
  {
    key: "devices",
    title: "Devices",
    width: "minmax(160px, 2fr)",
    render: ({ node }) => node.devices.map((device) => device.name || device.id).join(", "),
  },
  {
    key: "cpu",
    title: "Processor",
    width: "100px",
    align: "right",
    sort: ({ sample }) => sample?.cpuUtilization ?? -1,
    render: ({ node, sample }) =>
      node.state === NodeState.ONLINE && sample ? formatPercent(sample.cpuUtilization) : "–",
  },
  {
    key: "memory",
    title: "Memory",
    width: "180px",
    align: "right",
    sort: ({ node }) => Number(node.memoryBytes),
    render: ({ node, sample }) =>
      `${sample && node.state === NodeState.ONLINE ? `${formatBytes(sample.memoryUsedBytes)} of ` : ""}${formatBytes(node.memoryBytes)}`,
  },
  {
    key: "free",
    title: "Devices free",
    width: "110px",
    align: "right",
    render: ({ node }) =>
      `${formatCount(node.devices.filter((device) => !device.attemptId).length)} of ${formatCount(node.devices.length)}`,
  },
  { key: "seen", title: "Last seen", width: "120px", render: ({ node }) => <Ago time={node.lastSeenAt} /> },
  { key: "os", title: "System", extra: true, width: "minmax(160px, 1fr)", render: ({ node }) => node.os },
  { key: "version", title: "Agent", extra: true, width: "90px", render: ({ node }) => node.agentVersion },
  { key: "id", title: "Id", extra: true, render: ({ node }) => <code>{node.id}</code> },
];

export default function Nodes() {
  useWatchScope({ samples: true });
  const [shown, settled, set] = useUrlText("filter");
  const [dialog, setDialog] = useUrlState("new");
  const list = useList("node", settled);
  const [samples, setSamples] = useState<ReadonlyMap<string, NodeSample>>(new Map());
  useChanges((changes) => {
    const next = new Map(samples);
    for (const change of changes) {
      if (change.case === "sample" && change.value.sample) next.set(change.value.nodeId, change.value.sample);
    }
    if (changes.some((change) => change.case === "sample")) setSamples(next);
  });
  const add = (
    <Button type="primary" icon={<PlusOutlined />} onClick={() => setDialog("1")}>
      Add a node
    </Button>
  );
  return (
    <Page title="Nodes" summary="Machines with an agent. They run the tasks and serve the deployments." action={add}>
      {dialog === "1" && <AddNode close={() => setDialog("")} />}
      <Section flush label="Nodes">
        <Table
          label="Nodes"
          rows={list.items.map((node) => ({ node, sample: samples.get(node.id) ?? node.latestSample }))}
          columns={columns}
          rowKey={({ node }) => node.id}
          rowLink={({ node }) => `/nodes/${node.id}`}
          loading={list.loading}
          problem={list.error && toProblem(list.error)}
          retry={list.reload}
          total={list.total}
          hasMore={list.hasMore}
          loadMore={list.loadMore}
          filter={{ shown, settled, set, hint: "Filter by name" }}
          empty={
            <Empty title="No nodes yet" action={add}>
              An agent dials out to this backend from any machine that reaches it, and joins with a one-time token.
            </Empty>
          }
        />
      </Section>
    </Page>
  );
}

function AddNode({ close }: { close: () => void }) {
  const cache = useQueryClient();
  const [token, setToken] = useState<CreateJoinTokenResponse | null>(null);
  const [problem, setProblem] = useState<Problem | null>(null);
  const create = useCallback(async () => {
    setProblem(null);
    try {
      setToken(await clients.nodes.createJoinToken({}));
    } catch (error) {
      setProblem(toProblem(error));
    }
  }, []);
  useEffect(() => void create(), [create]);
  const done = () => {
    void cache.invalidateQueries({ queryKey: keys.list("node", "") });
    close();
  };
  return (
    <Modal open title="Add a node" onCancel={done} footer={<Button onClick={done}>Done</Button>} width={640}>
      <div className="stack">
        {problem && <ProblemBox problem={problem} retry={() => void create()} />}
        {!token && !problem && <Skeleton rows={2} />}
        {token && (
          <>
            <p>
              On the new machine, with the backend's gRPC address (port 7879 unless set otherwise). The token works once
              {token.expiresAt && (
                <>
                  {" "}
                  and ends <Ago time={token.expiresAt} />
                </>
              )}
              .
            </p>
            <CodeBlock
              wrap
              label="Command"
              text={`slipway-agent --backend ${window.location.hostname}:7879 --data ~/.local/share/slipway-agent --join ${token.joinToken}`}
            />
          </>
        )}
      </div>
    </Modal>
  );
}
