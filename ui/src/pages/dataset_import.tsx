// Import of data: drop a JSONL file, map its columns to roles while seeing what the model will see, register it.
import { useQueryClient } from "@tanstack/react-query";
import { Button, Input } from "antd";
import { useEffect, useState } from "react";
import { useNavigate, useSearchParams } from "react-router-dom";
import { clients } from "@/api/clients";
import { toProblem } from "@/api/problems";
import { usePreview } from "@/api/queries";
import { plural } from "@/base/format";
import { type Problem } from "@/base/problem";
import { MappingForm, roleNames } from "@/pages/mapping_form";
import { PreviewModelSelect, useFirstChatModel } from "@/pages/pickers";
import { PreviewRows } from "@/pages/preview_rows";
import { UploadPanel, useUpload } from "@/pages/upload_panel";
import { DropZone } from "@/widgets/drop_zone";
import { Field } from "@/widgets/field";
import { ProblemBox } from "@/widgets/feedback";
import { Page, Section } from "@/widgets/page";
import { useSetUrl, useUrlState } from "@/widgets/url_state";

const nameOfFile = (file: string) =>
  file
    .replace(/^.*\//, "")
    .replace(/\.jsonl?$/i, "")
    .replace(/[^A-Za-z0-9._-]+/g, "-")
    .slice(0, 100);

export default function DatasetImport() {
  const setUrl = useSetUrl();
  const [artifactId] = useUrlState("artifact");
  const [fileName] = useUrlState("file");
  const upload = useUpload((artifact, items) => setUrl({ artifact: artifact.id, file: items[0]?.path }));

  return (
    <Page
      title="Import data"
      crumbs={[{ label: "Data", to: "/data" }]}
      summary={artifactId ? `${fileName}: say which column plays which part.` : "A JSONL file: one JSON object per line, one example per object."}
    >
      {upload.state ? (
        <Section title="Upload">
          <UploadPanel state={upload.state} again={upload.start} cancel={upload.cancel} />
        </Section>
      ) : artifactId ? (
        <MapColumns artifactId={artifactId} fileName={fileName} />
      ) : (
        <DropZone
          title="Drop a JSONL file here"
          hint="Questions with answers, conversations, Alpaca or ShareGPT rows, or plain text. Broken uploads go on where they stopped."
          accept=".jsonl,.json,.ndjson"
          onFiles={(files) => upload.start(files.slice(0, 1))}
        />
      )}
    </Page>
  );
}

function MapColumns({ artifactId, fileName }: { artifactId: string; fileName: string }) {
  const navigate = useNavigate();
  const cache = useQueryClient();
  const setUrl = useSetUrl();
  const [params] = useSearchParams();
  const [name, setName] = useUrlState("name", nameOfFile(fileName));
  const [format] = useUrlState("format");
  const [modelVersionId, setModel] = useUrlState("model");
  const [row, setRow] = useUrlState("row", "0");
  const [description, setDescription] = useState("");
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem | null>(null);
  const roles: Record<string, string> = {};
  for (const role of roleNames) {
    const column = params.get(`role.${role}`);
    if (column) roles[role] = column;
  }
  const offset = Math.max(0, Number(row) || 0);
  const preview = usePreview({ artifactId, format, roles, modelVersionId, rows: 1, offset });
  const used = { format: preview.data?.mapping?.format ?? format, roles: { ...preview.data?.mapping?.roles, ...roles } };

  // A preview without a model shows no tokens: the first chat model is taken until another is chosen.
  const firstChat = useFirstChatModel();
  useEffect(() => {
    if (!modelVersionId && firstChat) setModel(firstChat);
    // Once: clearing it by hand is a choice.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [firstChat]);

  const register = async () => {
    setBusy(true);
    setProblem(null);
    try {
      const version = await clients.datasets.importDataset({ name, artifactId, mapping: used, description });
      await cache.invalidateQueries({ queryKey: ["dataset"] });
      navigate(`/data/${version.datasetId}`);
    } catch (error) {
      setProblem(toProblem(error));
      setBusy(false);
    }
  };
  return (
    <div className="detail" style={{ gridTemplateColumns: "360px minmax(0, 1fr)" }}>
      <div className="stack">
        <Section title="Columns">
          <MappingForm
            columns={preview.data?.columns ?? []}
            used={used}
            chooseFormat={(next) =>
              setUrl({ format: next, ...Object.fromEntries(roleNames.map((role) => [`role.${role}`, undefined])) })
            }
            chooseRole={(role, column) => setUrl({ format: used.format, [`role.${role}`]: column })}
          />
        </Section>
        <Section title="Register">
          <form
            className="stack"
            onSubmit={(event) => {
              event.preventDefault();
              void register();
            }}
          >
            <Field label="Name" help="Letters, digits, dot, dash and underscore. A name that exists gets a new version.">
              <Input value={name} onChange={(event) => setName(event.target.value)} />
            </Field>
            <Field label="Description">
              <Input.TextArea rows={2} value={description} onChange={(event) => setDescription(event.target.value)} />
            </Field>
            {problem && <ProblemBox problem={problem} />}
            <div className="row">
              <Button type="primary" htmlType="submit" loading={busy} disabled={!name || !preview.data}>
                Import {preview.data ? plural(preview.data.rowCount, "row") : ""}
              </Button>
              <Button onClick={() => navigate("/data/import")}>Another file</Button>
            </div>
            {busy && <span className="muted">Every row is checked.</span>}
          </form>
        </Section>
      </div>
      <Section title="Preview" extra={<PreviewModelSelect value={modelVersionId} onChange={setModel} />}>
        <PreviewRows preview={preview} offset={offset} setOffset={(next) => setRow(String(next))} />
      </Section>
    </div>
  );
}
