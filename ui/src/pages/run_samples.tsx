// What a model that trains answers to fixed prompts, measurement by measurement: newest first.
import { useMemo } from "react";
import { toProblem } from "@/api/problems";
import { formatCount } from "@/base/format";
import { type Run, type RunEvent } from "@/gen/slipway/v1/run_pb";
import { useRunEvents } from "@/pages/run_events";
import { Empty, ProblemBox, Skeleton } from "@/widgets/feedback";

interface Sample {
  step: number;
  prompt: string;
  text: string;
}

function readSample(event: RunEvent): Sample[] {
  if (event.type !== "sample") return [];
  try {
    const { step, prompt, text } = JSON.parse(event.json) as Partial<Sample>;
    return [{ step: Number(step), prompt: String(prompt ?? ""), text: String(text ?? "") }];
  } catch {
    return [];
  }
}

export function RunSamples({ run }: { run: Run }) {
  const { events, loading, error, reload } = useRunEvents(run.id);
  const byPrompt = useMemo(() => {
    const found = new Map<string, Map<number, string>>();
    for (const { step, prompt, text } of events.flatMap(readSample)) {
      // A step that is trained again after a restart answers again.
      found.set(prompt, (found.get(prompt) ?? new Map<number, string>()).set(step, text));
    }
    return found;
  }, [events]);
  if (error) return <ProblemBox problem={toProblem(error)} retry={reload} />;
  if (loading) return <Skeleton rows={3} />;
  if (byPrompt.size === 0) {
    return (
      <Empty title="No samples">
        Give a sample prompt (Training, Advanced) and the model answers it at each measurement, so that one can read how it changes.
      </Empty>
    );
  }
  return (
    <div className="stack">
      {[...byPrompt].map(([prompt, answers]) => (
        <table key={prompt} className="plain-table">
          <caption style={{ textAlign: "left", fontWeight: 600, paddingBottom: 4 }}>{prompt}</caption>
          <thead>
            <tr>
              <th scope="col" style={{ width: 90 }}>
                Step
              </th>
              <th scope="col">Answer</th>
            </tr>
          </thead>
          <tbody>
            {[...answers]
              .sort(([a], [b]) => b - a)
              .map(([step, text]) => (
                <tr key={step}>
                  <th scope="row" style={{ fontWeight: 400, verticalAlign: "top" }}>
                    {formatCount(step)}
                  </th>
                  <td style={{ whiteSpace: "pre-wrap", overflowWrap: "anywhere" }}>{text}</td>
                </tr>
              ))}
          </tbody>
        </table>
      ))}
    </div>
  );
}
