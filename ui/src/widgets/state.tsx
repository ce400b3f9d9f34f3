// States as icon and word, the same everywhere: runs, tasks, attempts, deployments, nodes.
import {
  CheckCircleFilled,
  ClockCircleOutlined,
  CloseCircleFilled,
  DisconnectOutlined,
  LoadingOutlined,
  MinusCircleOutlined,
  PauseCircleOutlined,
  StopOutlined,
} from "@ant-design/icons";
import { type ReactNode } from "react";
import { DeploymentAdapter_State, DeploymentState } from "@/gen/slipway/v1/deployment_pb";
import { NodeState } from "@/gen/slipway/v1/node_pb";
import { RunState, TaskState } from "@/gen/slipway/v1/run_pb";

export type Tone = "ok" | "warn" | "bad" | "info" | "muted";
export interface Look {
  word: string;
  tone: Tone;
  icon: ReactNode;
}

const waiting = (word: string): Look => ({ word, tone: "muted", icon: <ClockCircleOutlined /> });
const working = (word: string): Look => ({ word, tone: "info", icon: <LoadingOutlined /> });
const done = (word: string): Look => ({ word, tone: "ok", icon: <CheckCircleFilled /> });
const failed = (word: string): Look => ({ word, tone: "bad", icon: <CloseCircleFilled /> });
const ended = (word: string): Look => ({ word, tone: "muted", icon: <StopOutlined /> });
const unknown: Look = { word: "Unknown", tone: "muted", icon: <MinusCircleOutlined /> };

const runLooks: Record<RunState, Look> = {
  [RunState.UNSPECIFIED]: unknown,
  [RunState.QUEUED]: waiting("Queued"),
  [RunState.RUNNING]: working("Running"),
  [RunState.SUCCEEDED]: done("Succeeded"),
  [RunState.FAILED]: failed("Failed"),
  [RunState.CANCELLING]: working("Cancelling"),
  [RunState.CANCELLED]: ended("Cancelled"),
};
const taskLooks: Record<TaskState, Look> = {
  [TaskState.UNSPECIFIED]: unknown,
  [TaskState.PENDING]: waiting("Pending"),
  [TaskState.QUEUED]: waiting("Queued"),
  [TaskState.RUNNING]: working("Running"),
  [TaskState.SUCCEEDED]: done("Succeeded"),
  [TaskState.FAILED]: failed("Failed"),
  [TaskState.CANCELLED]: ended("Cancelled"),
  [TaskState.SKIPPED]: { word: "Skipped", tone: "muted", icon: <MinusCircleOutlined /> },
};
const deploymentLooks: Record<DeploymentState, Look> = {
  [DeploymentState.UNSPECIFIED]: unknown,
  [DeploymentState.QUEUED]: waiting("Queued"),
  [DeploymentState.STARTING]: working("Starting"),
  [DeploymentState.READY]: done("Ready"),
  [DeploymentState.FAILED]: failed("Failed"),
  [DeploymentState.STOPPING]: working("Stopping"),
  [DeploymentState.UNREACHABLE]: { word: "Unreachable", tone: "bad", icon: <DisconnectOutlined /> },
  [DeploymentState.STOPPED]: { word: "Stopped", tone: "muted", icon: <PauseCircleOutlined /> },
};
const adapterLooks: Record<DeploymentAdapter_State, Look> = {
  [DeploymentAdapter_State.UNSPECIFIED]: unknown,
  [DeploymentAdapter_State.WAITING]: waiting("Waiting"),
  [DeploymentAdapter_State.LOADING]: working("Loading"),
  [DeploymentAdapter_State.LOADED]: done("Loaded"),
  [DeploymentAdapter_State.FAILED]: failed("Failed"),
};
const nodeLooks: Record<NodeState, Look> = {
  [NodeState.UNSPECIFIED]: unknown,
  [NodeState.ONLINE]: done("Online"),
  [NodeState.OFFLINE]: { word: "Offline", tone: "bad", icon: <DisconnectOutlined /> },
};

export const runLook = (state: RunState): Look => runLooks[state] ?? unknown;
export const taskLook = (state: TaskState): Look => taskLooks[state] ?? unknown;
export const deploymentLook = (state: DeploymentState): Look => deploymentLooks[state] ?? unknown;
export const adapterLook = (state: DeploymentAdapter_State): Look => adapterLooks[state] ?? unknown;
export const nodeLook = (state: NodeState): Look => nodeLooks[state] ?? unknown;

/** `live` announces changes to screen readers: for the state in a page's header. */
export function StateLabel({ look, live = false }: { look: Look; live?: boolean }) {
  return (
    <span className={`state tone-${look.tone}`} data-state={look.word} {...(live ? { role: "status" } : {})}>
      <span aria-hidden="true">{look.icon}</span>
      {look.word}
    </span>
  );
}

export const runEnded = (state: RunState): boolean =>
  state === RunState.SUCCEEDED || state === RunState.FAILED || state === RunState.CANCELLED;
