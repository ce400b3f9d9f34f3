// A rendered example cut into its tokens, with those that training learns marked.
import { type PreviewToken } from "@/gen/slipway/v1/dataset_pb";

export function TokensView({ tokens }: { tokens: readonly PreviewToken[] }) {
  const trained = tokens.filter((token) => token.trained).length;
  return (
    <div className="stack tight">
      <div className="muted small">
        {tokens.length} tokens, <span className="token trained">{trained} trained</span>: the marked ones are what the model learns
        to say.
      </div>
      <div className="tokens" tabIndex={0} aria-label="Tokens of the example">
        {tokens.map((token, index) => (
          <span key={index} className={token.trained ? "token trained" : "token"} title={`Token ${token.id}`}>
            {token.text.includes("\n") ? withBreaks(token.text) : token.text}
          </span>
        ))}
      </div>
    </div>
  );
}

function withBreaks(text: string) {
  return text.split("\n").map((part, index) => (
    <span key={index}>
      {index > 0 && (
        <>
          <span className="newline" aria-hidden="true">
            ⏎
          </span>
          {"\n"}
        </>
      )}
      {part}
    </span>
  ));
}
