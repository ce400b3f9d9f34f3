// Chat with a deployment over POST /v1/chat/completions, streamed, under the page's own session.
import { reportSignedOut } from "@/api/clients";
import { httpProblem } from "@/api/upload";
import { SseParser } from "@/base/sse";

export interface ChatMessage {
  role: "system" | "user" | "assistant";
  content: string;
}
export interface ChatSettings {
  temperature: number;
  maxTokens: number;
}
/** What is known of an answer when it has ended. */
export interface ChatResult {
  finishReason: string;
  completionTokens: number | null;
}

interface Chunk {
  choices?: { delta?: { content?: string | null }; finish_reason?: string | null }[];
  usage?: { completion_tokens?: number } | null;
  error?: { message?: string };
}

/** Calls `onText` for every piece; resolves at the end of the stream. */
export async function streamChat(
  model: string,
  messages: readonly ChatMessage[],
  settings: ChatSettings,
  onText: (text: string) => void,
  signal: AbortSignal,
): Promise<ChatResult> {
  const response = await fetch("/v1/chat/completions", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({
      model,
      messages,
      temperature: settings.temperature,
      max_tokens: settings.maxTokens,
      stream: true,
      stream_options: { include_usage: true },
    }),
    signal,
  });
  if (response.status === 401) reportSignedOut();
  if (!response.ok || !response.body) throw await httpProblem(response, "The deployment did not answer");

  const parser = new SseParser();
  const decoder = new TextDecoder();
  const reader = response.body.getReader();
  const result: ChatResult = { finishReason: "", completionTokens: null };
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return result;
    for (const data of parser.feed(decoder.decode(value, { stream: true }))) {
      if (data === "[DONE]") continue;
      const chunk = JSON.parse(data) as Chunk;
      if (chunk.error) throw new Error(chunk.error.message ?? "The deployment broke off its answer.");
      const choice = chunk.choices?.[0];
      if (choice?.delta?.content) onText(choice.delta.content);
      if (choice?.finish_reason) result.finishReason = choice.finish_reason;
      if (chunk.usage?.completion_tokens !== undefined) result.completionTokens = chunk.usage.completion_tokens;
    }
  }
}
