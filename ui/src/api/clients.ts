// The generated clients of slipway.v1 over the Connect protocol, on this page's own origin.
import { Code, ConnectError, createClient, type Interceptor, type Transport } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-web";
import { ArtifactService } from "@/gen/slipway/v1/artifact_pb";
import { AuthService } from "@/gen/slipway/v1/auth_pb";
import { DatasetService } from "@/gen/slipway/v1/dataset_pb";
import { DeploymentService } from "@/gen/slipway/v1/deployment_pb";
import { EventService } from "@/gen/slipway/v1/event_pb";
import { ModelService } from "@/gen/slipway/v1/model_pb";
import { NodeService } from "@/gen/slipway/v1/node_pb";
import { RunService } from "@/gen/slipway/v1/run_pb";
import { WorkflowService } from "@/gen/slipway/v1/workflow_pb";

const signedOutListeners = new Set<() => void>();

/** Called whenever a call is refused because no one is signed in. Answers how to stop listening. */
export function onSignedOut(listener: () => void): () => void {
  signedOutListeners.add(listener);
  return () => signedOutListeners.delete(listener);
}

export function reportSignedOut(): void {
  for (const listener of signedOutListeners) listener();
}

// Sign-in itself answers "unauthenticated" for a wrong password: that is the form's to show.
const openMethods = new Set(["SignIn", "CompleteSetup", "GetSetupState"]);

const noticeSignedOut: Interceptor = (next) => async (request) => {
  try {
    return await next(request);
  } catch (error) {
    const refused = ConnectError.from(error).code === Code.Unauthenticated;
    if (refused && !openMethods.has(request.method.name)) reportSignedOut();
    throw error;
  }
};

export function createClients(transport: Transport) {
  return {
    artifacts: createClient(ArtifactService, transport),
    auth: createClient(AuthService, transport),
    datasets: createClient(DatasetService, transport),
    deployments: createClient(DeploymentService, transport),
    events: createClient(EventService, transport),
    models: createClient(ModelService, transport),
    nodes: createClient(NodeService, transport),
    runs: createClient(RunService, transport),
    workflows: createClient(WorkflowService, transport),
  };
}

export const clients = createClients(createConnectTransport({ baseUrl: "/api", interceptors: [noticeSignedOut] }));
