// Sends files to the artifact store in pieces, goes on where a broken upload stopped, and makes the artifact.
import { clients, reportSignedOut } from "@/api/clients";
import { HttpProblem } from "@/api/problems";
import { readStored, writeStored } from "@/base/storage";
import { type Artifact } from "@/gen/slipway/v1/artifact_pb";

/** A file with its path inside the artifact. */
export interface UploadItem {
  path: string;
  file: File;
}
export interface UploadProgress {
  sent: number;
  total: number;
  /** Bytes that were there already from an upload before. */
  resumed: number;
  path: string;
}

const pieceBytes = 4 << 20;
const tries = 6;

/** Identifies the same files chosen again, after a reload too. */
function fingerprint(items: readonly UploadItem[]): string {
  return items.map(({ path, file }) => `${path}:${file.size}:${file.lastModified}`).join("|");
}

export async function uploadArtifact(
  items: readonly UploadItem[],
  onProgress: (progress: UploadProgress) => void,
  signal: AbortSignal,
): Promise<Artifact> {
  const open = readStored<Record<string, string>>("uploads", {});
  const key = fingerprint(items);
  const files = items.map(({ path, file }) => ({ path, size: BigInt(file.size), sha256: "" }));
  const begin = (uploadId: string) => clients.artifacts.beginUpload({ uploadId, files }, { signal });
  // An upload that the backend no longer knows is begun anew.
  const upload = open[key] ? await begin(open[key]).catch(() => begin("")) : await begin("");
  writeStored("uploads", { ...open, [key]: upload.id });

  const total = items.reduce((sum, { file }) => sum + file.size, 0);
  const resumed = upload.files.reduce((sum, file) => sum + Number(file.received), 0);
  let sent = resumed;
  for (const [index, { path, file }] of items.entries()) {
    let offset = Number(upload.files[index]?.received ?? 0);
    onProgress({ sent, total, resumed, path });
    while (offset < file.size) {
      const end = Math.min(offset + pieceBytes, file.size);
      await sendPiece(upload.id, index, offset, file.slice(offset, end), signal);
      sent += end - offset;
      offset = end;
      onProgress({ sent, total, resumed, path });
    }
  }
  const artifact = await clients.artifacts.finishUpload({ uploadId: upload.id }, { signal });
  const rest = readStored<Record<string, string>>("uploads", {});
  delete rest[key];
  writeStored("uploads", rest);
  return artifact;
}

async function sendPiece(uploadId: string, index: number, offset: number, piece: Blob, signal: AbortSignal) {
  const url = `/artifacts/uploads/${encodeURIComponent(uploadId)}/${index}?offset=${offset}`;
  for (let attempt = 1; ; attempt += 1) {
    let response: Response;
    try {
      response = await fetch(url, {
        method: "PUT",
        body: piece,
        headers: { "content-type": "application/octet-stream" },
        signal,
      });
    } catch (error) {
      if (signal.aborted || attempt >= tries) throw error;
      await new Promise((resolve) => setTimeout(resolve, 400 * 2 ** attempt));
      continue;
    }
    if (response.ok) return;
    if (response.status === 401) reportSignedOut();
    if (response.status >= 500 && response.status !== 507 && attempt < tries) {
      await new Promise((resolve) => setTimeout(resolve, 400 * 2 ** attempt));
      continue;
    }
    throw await httpProblem(response, "The upload was refused");
  }
}

/** Reads the error that web/ sends for plain HTTP: JSON with message, code and advice, or text. */
export async function httpProblem(response: Response, what: string): Promise<HttpProblem> {
  const text = await response.text().catch(() => "");
  let message = text.slice(0, 500);
  let code = `HTTP_${response.status}`;
  let advice = "";
  try {
    const body = JSON.parse(text) as Record<string, unknown>;
    const error = (typeof body["error"] === "object" && body["error"] !== null ? body["error"] : body) as Record<
      string,
      unknown
    >;
    if (typeof error["message"] === "string") message = error["message"];
    if (typeof error["code"] === "string") code = error["code"].toUpperCase();
    if (typeof error["advice"] === "string") advice = error["advice"];
  } catch {
    // Not JSON: the text is all there is.
  }
  return new HttpProblem({
    message: message || `${what}: status ${response.status}.`,
    advice,
    code,
    field: "",
    violations: [],
    transient: response.status >= 502 && response.status <= 504,
  });
}
