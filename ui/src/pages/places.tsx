// The places of the left navigation, in their order, with their keys.
import {
  CloudServerOutlined,
  DatabaseOutlined,
  DeploymentUnitOutlined,
  ExperimentOutlined,
  HomeOutlined,
  RocketOutlined,
} from "@ant-design/icons";
import { type ReactNode } from "react";

export interface Place {
  path: string;
  label: string;
  icon: ReactNode;
  /** Pressed after g. */
  key: string;
  /** Further addresses that belong to it. */
  also?: string;
}

export const places: Place[] = [
  { path: "/", label: "Home", icon: <HomeOutlined />, key: "h" },
  { path: "/data", label: "Data", icon: <DatabaseOutlined />, key: "d" },
  { path: "/train", label: "Train", icon: <ExperimentOutlined />, key: "t", also: "/runs/" },
  { path: "/models", label: "Models", icon: <DeploymentUnitOutlined />, key: "m" },
  { path: "/deployments", label: "Deployments", icon: <RocketOutlined />, key: "e" },
  { path: "/nodes", label: "Nodes", icon: <CloudServerOutlined />, key: "n" },
];
