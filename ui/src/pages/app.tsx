// The console's addresses. Each page is a chunk of its own: the first one is asked for at once, beside the frame, and the
// others are fetched in idle time after the first view.
import { type ComponentType, lazy, Suspense, useEffect } from "react";
import { matchPath, Route, Routes } from "react-router-dom";
import { Skeleton } from "@/widgets/feedback";

type Loader = () => Promise<{ default: ComponentType }>;

const loadShell: Loader = () => import("@/pages/shell");
const outside: Record<string, Loader> = {
  "/sign-in": () => import("@/pages/sign_in"),
  "/setup": () => import("@/pages/setup"),
};
const inside: Record<string, Loader> = {
  "/": () => import("@/pages/home"),
  "/data": () => import("@/pages/datasets"),
  "/data/import": () => import("@/pages/dataset_import"),
  "/data/version/:id": async () => ({ default: (await import("@/pages/version_link")).DatasetVersionRedirect }),
  "/data/:id": () => import("@/pages/dataset"),
  "/train": () => import("@/pages/train"),
  "/train/compare": () => import("@/pages/compare"),
  "/train/new/:workflow": () => import("@/pages/wizard"),
  "/runs/:id": () => import("@/pages/run"),
  "/models": () => import("@/pages/models"),
  "/models/import": () => import("@/pages/model_import"),
  "/models/version/:id": async () => ({ default: (await import("@/pages/version_link")).ModelVersionRedirect }),
  "/models/:id": () => import("@/pages/model"),
  "/deployments": () => import("@/pages/deployments"),
  "/deployments/playground": () => import("@/pages/playground"),
  "/deployments/:id": () => import("@/pages/deployment"),
  "/nodes": () => import("@/pages/nodes"),
  "/nodes/:id": () => import("@/pages/node"),
  "/account/tokens": () => import("@/pages/api_tokens"),
  "/account/password": () => import("@/pages/password"),
  "*": () => import("@/pages/not_found"),
};

const quietly = (load: Loader | undefined) => void load?.().catch(() => undefined);
const firstOf = (pages: Record<string, Loader>) =>
  Object.entries(pages).find(([path]) => matchPath(path, window.location.pathname))?.[1];
if (firstOf(outside)) quietly(firstOf(outside));
else {
  quietly(loadShell);
  quietly(firstOf(inside));
}

const Shell = lazy(loadShell);
const routes = (pages: Record<string, Loader>) =>
  Object.entries(pages).map(([path, load]) => {
    const Page = lazy(load);
    return <Route key={path} path={path} element={<Page />} />;
  });
const outsideRoutes = routes(outside);
const insideRoutes = routes(inside);

export function App() {
  useEffect(() => {
    const load = () => [loadShell, ...Object.values(outside), ...Object.values(inside)].forEach(quietly);
    const timer = setTimeout(() => window.requestIdleCallback(load), 1500);
    return () => clearTimeout(timer);
  }, []);
  return (
    <Suspense fallback={<Skeleton />}>
      <Routes>
        {outsideRoutes}
        <Route element={<Shell />}>{insideRoutes}</Route>
      </Routes>
    </Suspense>
  );
}
