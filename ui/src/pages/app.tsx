// The console's addresses. Each page is a chunk of its own; all are fetched in idle time after the first view.
import { type ComponentType, lazy, type LazyExoticComponent, Suspense, useEffect } from "react";
import { Route, Routes } from "react-router-dom";
import { Skeleton } from "@/widgets/feedback";

type Loader = () => Promise<{ default: ComponentType }>;
const loaders: Loader[] = [];

function page(load: Loader): LazyExoticComponent<ComponentType> {
  loaders.push(load);
  return lazy(load);
}

const Shell = page(() => import("@/pages/shell"));
const SignIn = page(() => import("@/pages/sign_in"));
const Setup = page(() => import("@/pages/setup"));
const Home = page(() => import("@/pages/home"));
const ModelVersionRedirect = page(async () => ({ default: (await import("@/pages/version_link")).ModelVersionRedirect }));
const DatasetVersionRedirect = page(async () => ({ default: (await import("@/pages/version_link")).DatasetVersionRedirect }));
const Datasets = page(() => import("@/pages/datasets"));
const Dataset = page(() => import("@/pages/dataset"));
const DatasetImport = page(() => import("@/pages/dataset_import"));
const Train = page(() => import("@/pages/train"));
const Wizard = page(() => import("@/pages/wizard"));
const Run = page(() => import("@/pages/run"));
const Models = page(() => import("@/pages/models"));
const Model = page(() => import("@/pages/model"));
const ModelImport = page(() => import("@/pages/model_import"));
const Deployments = page(() => import("@/pages/deployments"));
const Deployment = page(() => import("@/pages/deployment"));
const Nodes = page(() => import("@/pages/nodes"));
const Node = page(() => import("@/pages/node"));
const ApiTokens = page(() => import("@/pages/api_tokens"));
const Password = page(() => import("@/pages/password"));
const NotFound = page(() => import("@/pages/not_found"));

export function App() {
  useEffect(() => {
    const load = () => loaders.forEach((one) => void one().catch(() => undefined));
    const timer = setTimeout(() => window.requestIdleCallback(load), 1500);
    return () => clearTimeout(timer);
  }, []);
  return (
    <Suspense fallback={<Skeleton />}>
      <Routes>
        <Route path="/sign-in" element={<SignIn />} />
        <Route path="/setup" element={<Setup />} />
        <Route element={<Shell />}>
          <Route index element={<Home />} />
          <Route path="/data" element={<Datasets />} />
          <Route path="/data/import" element={<DatasetImport />} />
          <Route path="/data/version/:id" element={<DatasetVersionRedirect />} />
          <Route path="/data/:id" element={<Dataset />} />
          <Route path="/train" element={<Train />} />
          <Route path="/train/new/:workflow" element={<Wizard />} />
          <Route path="/runs/:id" element={<Run />} />
          <Route path="/models" element={<Models />} />
          <Route path="/models/import" element={<ModelImport />} />
          <Route path="/models/version/:id" element={<ModelVersionRedirect />} />
          <Route path="/models/:id" element={<Model />} />
          <Route path="/deployments" element={<Deployments />} />
          <Route path="/deployments/:id" element={<Deployment />} />
          <Route path="/nodes" element={<Nodes />} />
          <Route path="/nodes/:id" element={<Node />} />
          <Route path="/account/tokens" element={<ApiTokens />} />
          <Route path="/account/password" element={<Password />} />
          <Route path="*" element={<NotFound />} />
        </Route>
      </Routes>
    </Suspense>
  );
}
