// Import of a model: drop a GGUF or .slipway file or a Hugging Face folder, name it, register it.
import { useQueryClient } from "@tanstack/react-query";
import { Button, Input } from "antd";
import { useState } from "react";
import { useNavigate } from "react-router-dom";
import { clients } from "@/api/clients";
import { toProblem } from "@/api/problems";
import { type Problem } from "@/base/problem";
import { UploadPanel, useUpload } from "@/pages/upload_panel";
import { DropZone } from "@/widgets/drop_zone";
import { Field } from "@/widgets/field";
import { ProblemBox } from "@/widgets/feedback";
import { Page, Section } from "@/widgets/page";
import { useSetUrl, useUrlState } from "@/widgets/url_state";

const nameOf = (path: string) =>
  path
    .replace(/^.*\//, "")
    .replace(/\.(gguf|slipway|safetensors|json)$/i, "")
    .replace(/[^A-Za-z0-9._-]+/g, "-")
    .slice(0, 100);

export default function ModelImport() {
  const setUrl = useSetUrl();
  const [artifactId] = useUrlState("artifact");
  const [file] = useUrlState("file");
  const upload = useUpload((artifact, items) =>
    setUrl({ artifact: artifact.id, file: items.length === 1 ? items[0]?.path : "model" }),
  );
  return (
    <Page title="Import a model" crumbs={[{ label: "Models", to: "/models" }]}>
      {upload.state ? (
        <Section title="Upload">
          <UploadPanel state={upload.state} again={upload.start} cancel={upload.cancel} />
        </Section>
      ) : artifactId ? (
        <Register artifactId={artifactId} file={file} />
      ) : (
        <DropZone
          title="Drop a GGUF file, a .slipway file or a Hugging Face folder here"
          hint="The folder holds config.json, tokenizer.json and the .safetensors files. Broken uploads go on where they stopped."
          multiple
          folders
          onFiles={upload.start}
        />
      )}
    </Page>
  );
}

function Register({ artifactId, file }: { artifactId: string; file: string }) {
  const navigate = useNavigate();
  const cache = useQueryClient();
  const [name, setName] = useUrlState("name", nameOf(file));
  const [description, setDescription] = useState("");
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem | null>(null);
  const register = async () => {
    setBusy(true);
    setProblem(null);
    try {
      const version = await clients.models.importModel({ name, artifactId, description });
      await cache.invalidateQueries({ queryKey: ["model"] });
      navigate(`/models/${version.modelId}`);
    } catch (error) {
      setProblem(toProblem(error));
      setBusy(false);
    }
  };
  return (
    <Section title="Register">
      <form
        className="form"
        onSubmit={(event) => {
          event.preventDefault();
          void register();
        }}
      >
        <p className="tone-ok">{file} is uploaded.</p>
        <Field label="Name" help="Letters, digits, dot, dash and underscore. A name that exists gets a new version.">
          <Input autoFocus value={name} onChange={(event) => setName(event.target.value)} />
        </Field>
        <Field label="Description">
          <Input.TextArea rows={2} value={description} onChange={(event) => setDescription(event.target.value)} />
        </Field>
        {problem && <ProblemBox problem={problem} title="Nothing was registered" />}
        <div className="row">
          <Button type="primary" htmlType="submit" loading={busy} disabled={!name}>
            Import model
          </Button>
          <Button onClick={() => navigate("/models/import")}>Other files</Button>
          {busy && <span className="muted">The files are read and checked.</span>}
        </div>
      </form>
    </Section>
  );
}
