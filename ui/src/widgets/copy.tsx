// Text to take along: a copy button, blocks of code, secrets that are shown once.
import { CheckOutlined, CopyOutlined } from "@ant-design/icons";
import { Button } from "antd";
import { useEffect, useState } from "react";

async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // No permission or no secure context: the old way.
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

export function CopyButton({ text, label = "Copy" }: { text: string; label?: string }) {
  const [copied, setCopied] = useState(false);
  useEffect(() => {
    if (!copied) return;
    const timer = setTimeout(() => setCopied(false), 2000);
    return () => clearTimeout(timer);
  }, [copied]);
  return (
    <Button
      size="small"
      icon={copied ? <CheckOutlined /> : <CopyOutlined />}
      onClick={() => void copyText(text).then(setCopied)}
    >
      <span aria-live="polite">{copied ? "Copied" : label}</span>
    </Button>
  );
}

export function CodeBlock({ text, wrap = false, label }: { text: string; wrap?: boolean; label?: string }) {
  return (
    <div className={wrap ? "code-block wrapped" : "code-block"}>
      <pre tabIndex={0} aria-label={label}>
        <code>{text}</code>
      </pre>
      <div className="copy">
        <CopyButton text={text} />
      </div>
    </div>
  );
}

export function SecretOnce({ secret, what }: { secret: string; what: string }) {
  return (
    <div className="stack tight" role="status">
      <strong>Keep this {what} now: it is not shown again.</strong>
      <div className="secret">
        <code data-testid="secret">{secret}</code>
        <CopyButton text={secret} />
      </div>
    </div>
  );
}
