// What the command palette offers: places, actions, and everything that has a page.
import { useMemo } from "react";
import { useNavigate } from "react-router-dom";
import { useList, useWorkflows } from "@/api/queries";
import { places } from "@/pages/places";
import { type Command, CommandPalette } from "@/widgets/command_palette";
import { deploymentLook, nodeLook, runLook } from "@/widgets/state";
import { useTheme } from "@/widgets/theme";

export default function Palette({ close, showKeys }: { close: () => void; showKeys: () => void }) {
  const navigate = useNavigate();
  const { dark, choose } = useTheme();
  const workflows = useWorkflows().data;
  const runs = useList("run").items;
  const models = useList("model").items;
  const datasets = useList("dataset").items;
  const deployments = useList("deployment").items;
  const nodes = useList("node").items;

  const commands = useMemo<Command[]>(() => {
    const go = (id: string, label: string, note: string, path: string): Command => ({
      id,
      label,
      note,
      run: () => navigate(path),
    });
    return [
      ...places.map((place) => go(place.path, place.label, `Go to · g ${place.key}`, place.path)),
      ...(workflows ?? []).map((one) => go(`new-${one.name}`, one.title, "Start a run", `/train/new/${one.name}`)),
      go("import-model", "Import a model", "Models", "/models/import"),
      go("import-data", "Import data", "Data", "/data/import"),
      go("playground", "Playground", "Deployments", "/deployments/playground"),
      go("tokens", "API tokens", "Account", "/account/tokens"),
      go("password", "Change password", "Account", "/account/password"),
      { id: "theme", label: dark ? "Light theme" : "Dark theme", note: "Switch", run: () => choose(dark ? "light" : "dark") },
      { id: "keys", label: "Keys", note: "Show", run: showKeys },
      ...runs.map((one) => go(one.id, one.name || one.id, `Run · ${runLook(one.state).word}`, `/runs/${one.id}`)),
      ...models.map((one) => go(one.id, one.name, "Model", `/models/${one.id}`)),
      ...datasets.map((one) => go(one.id, one.name, "Dataset", `/data/${one.id}`)),
      ...deployments.map((one) =>
        go(one.id, one.name, `Deployment · ${deploymentLook(one.state).word}`, `/deployments/${one.id}`),
      ),
      ...nodes.map((one) => go(one.id, one.name, `Node · ${nodeLook(one.state).word}`, `/nodes/${one.id}`)),
    ];
  }, [navigate, workflows, dark, choose, showKeys, runs, models, datasets, deployments, nodes]);

  return <CommandPalette open close={close} commands={commands} />;
}
