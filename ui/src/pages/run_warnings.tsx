// What the engines warned of, by kind, the latest first: above the tabs, because it must be read.
import { useQuery } from "@tanstack/react-query";
import { WarningFilled } from "@ant-design/icons";
import { useMemo, useState } from "react";
import { keys } from "@/api/cache";
import { clients } from "@/api/clients";
import { useChanges } from "@/api/watch_context";
import { formatCount } from "@/base/format";
import { asSentence } from "@/base/problem";
import { type Warning, warningsOf } from "@/base/warnings";
import { type RunEvent } from "@/gen/slipway/v1/run_pb";
import { Section } from "@/widgets/page";
import { Ago } from "@/widgets/time";

const kept = 1000;

export function RunWarnings({ runId }: { runId: string }) {
  const warnings = useWarnings(runId);
  if (warnings.length === 0) return null;
  return (
    <Section title="Warnings">
      <ul className="warnings stack">
        {warnings.map((one) => (
          <li key={one.code} className="row nowrap">
            <WarningFilled className="tone-warn" aria-label="Warning" />
            <div className="grow">
              <div>{asSentence(one.message)}</div>
              {one.advice && <div className="muted">{asSentence(one.advice)}</div>}
            </div>
            <div className="muted small">
              <Ago time={one.latest.time} />
              {one.count > 1 && <div>{formatCount(one.count)} times</div>}
              <div className="mono">{one.code}</div>
            </div>
          </li>
        ))}
      </ul>
    </Section>
  );
}

function useWarnings(runId: string): Warning<RunEvent>[] {
  const query = useQuery({
    queryKey: keys.warnings(runId),
    queryFn: async () => (await clients.runs.listRunEvents({ runId, type: "warning", limit: kept })).events,
    gcTime: 0,
  });
  const [live, setLive] = useState<RunEvent[]>([]);
  useChanges((changes) => {
    const fresh = changes.flatMap((change) => (change.case === "event" && change.value.type === "warning" ? [change.value] : []));
    if (fresh.length > 0) setLive((old) => [...old, ...fresh].slice(-kept));
  });
  return useMemo(() => {
    const read = query.data ?? [];
    const last = read[read.length - 1]?.cursor ?? 0n;
    return warningsOf([...read, ...live.filter((event) => event.cursor > last)]);
  }, [query.data, live]);
}
