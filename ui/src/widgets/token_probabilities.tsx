// Text cut into its tokens, shaded by how unlikely each was; the one under the pointer, or chosen with the arrow keys,
// shows what else the model could have said.
import { useRef, useState } from "react";
import { formatNumber } from "@/base/format";
import { type ShownToken } from "@/base/talk";

const share = (logprob: number): string => {
  const percent = Math.exp(logprob) * 100;
  return `${percent >= 99.95 ? "100" : formatNumber(percent, percent < 1 ? 2 : 3)} %`;
};
/** Of four shades: none for likely tokens. */
const shade = (logprob: number): number => (logprob > -0.36 ? 0 : logprob > -1.2 ? 1 : logprob > -2.3 ? 2 : 3);
const visible = (token: string): string => JSON.stringify(token).slice(1, -1) || "part of a character";

export function TokenProbabilities({ tokens }: { tokens: readonly ShownToken[] }) {
  const box = useRef<HTMLDivElement>(null);
  const [at, setAt] = useState<{ index: number; left: number; top: number } | null>(null);
  const shown = at ? tokens[at.index] : undefined;
  const show = (index: number) => {
    const element = box.current?.querySelector<HTMLElement>(`[data-token="${index}"]`);
    if (!element || !box.current) return;
    const left = Math.max(0, Math.min(element.offsetLeft, box.current.clientWidth - 230));
    setAt({ index, left, top: element.offsetTop + element.offsetHeight + 2 });
  };
  return (
    <div
      ref={box}
      className="token-probabilities"
      tabIndex={0}
      role="group"
      aria-label="Answer by tokens; the arrow keys go from one to the next"
      onMouseOver={(event) => {
        const index = (event.target as HTMLElement).dataset["token"];
        if (index !== undefined) show(Number(index));
      }}
      onMouseLeave={() => setAt(null)}
      onBlur={() => setAt(null)}
      onKeyDown={(event) => {
        const move = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
        if (event.key === "Escape") setAt(null);
        if (!move) return;
        event.preventDefault();
        show(Math.max(0, Math.min(tokens.length - 1, at ? at.index + move : 0)));
      }}
    >
      {tokens.map((token, index) => (
        <span key={index} data-token={index} className={`shade-${shade(token.logprob)}${at?.index === index ? " at" : ""}`}>
          {token.token}
        </span>
      ))}
      {shown && at && (
        <div className="token-card" style={{ left: at.left, top: at.top }} role="status">
          <Alternative token={shown.token} logprob={shown.logprob} own />
          {shown.top
            .filter((one) => one.token !== shown.token || Math.abs(one.logprob - shown.logprob) > 1e-9)
            .map((one, index) => (
              <Alternative key={index} token={one.token} logprob={one.logprob} />
            ))}
        </div>
      )}
    </div>
  );
}

function Alternative({ token, logprob, own = false }: { token: string; logprob: number; own?: boolean }) {
  return (
    <div className={own ? "alternative own" : "alternative"}>
      <span className="bar" style={{ width: `${Math.min(100, Math.exp(logprob) * 100)}%` }} />
      <code className="cut">{visible(token)}</code>
      <span className="num">{share(logprob)}</span>
    </div>
  );
}
