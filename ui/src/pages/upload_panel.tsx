// Progress of an upload, with rate, cancel, and going on after it broke.
import { Button, Progress } from "antd";
import { useRef, useState } from "react";
import { toProblem } from "@/api/problems";
import { uploadArtifact, type UploadItem, type UploadProgress } from "@/api/upload";
import { formatBytes, formatDuration } from "@/base/format";
import { type Problem } from "@/base/problem";
import { type Artifact } from "@/gen/slipway/v1/artifact_pb";
import { ProblemBox } from "@/widgets/feedback";

export interface UploadState {
  items: UploadItem[];
  progress: UploadProgress | null;
  problem: Problem | null;
  startedAt: number;
}

export function useUpload(onDone: (artifact: Artifact, items: UploadItem[]) => void) {
  const [state, setState] = useState<UploadState | null>(null);
  const stop = useRef<AbortController | null>(null);
  const start = async (items: UploadItem[]) => {
    stop.current?.abort();
    const own = new AbortController();
    stop.current = own;
    const base = { items, startedAt: performance.now() };
    setState({ ...base, progress: null, problem: null });
    try {
      const artifact = await uploadArtifact(
        items,
        (progress) => !own.signal.aborted && setState({ ...base, progress, problem: null }),
        own.signal,
      );
      if (own.signal.aborted) return;
      setState(null);
      onDone(artifact, items);
    } catch (error) {
      if (own.signal.aborted) return;
      setState((old) => old && { ...old, problem: toProblem(error) });
    }
  };
  const cancel = () => {
    stop.current?.abort();
    setState(null);
  };
  return { state, start: (items: UploadItem[]) => void start(items), cancel };
}

interface UploadPanelProps {
  state: UploadState;
  again: (items: UploadItem[]) => void;
  cancel: () => void;
}

export function UploadPanel({ state, again, cancel }: UploadPanelProps) {
  const { progress, problem, items, startedAt } = state;
  const total = items.reduce((sum, { file }) => sum + file.size, 0);
  const sent = progress?.sent ?? 0;
  const seconds = (performance.now() - startedAt) / 1000;
  const rate = (sent - (progress?.resumed ?? 0)) / Math.max(seconds, 0.1);
  return (
    <div className="stack">
      <div className="row spread">
        <strong className="cut">{items.length === 1 ? items[0]?.path : `${items.length} files`}</strong>
        <Button onClick={cancel}>Cancel</Button>
      </div>
      <Progress
        percent={total > 0 ? Math.floor((sent / total) * 100) : 0}
        status={problem ? "exception" : "active"}
        aria-label="Upload"
      />
      <div className="muted num" role="status">
        {formatBytes(sent)} of {formatBytes(total)}
        {sent < total && rate > 0 && (
          <>
            {" "}
            · {formatBytes(rate)}/s · {formatDuration((total - sent) / rate)} left
          </>
        )}
        {sent >= total && total > 0 && " · checking"}
        {(progress?.resumed ?? 0) > 0 && ` · ${formatBytes(progress?.resumed ?? 0)} were there already`}
      </div>
      {problem && <ProblemBox problem={problem} retry={() => again(items)} title="The upload stopped" />}
    </div>
  );
}
