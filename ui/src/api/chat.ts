// Answers of a deployment over OpenAI's API, streamed, under the page's own session.
import { reportSignedOut } from "@/api/clients";
import { httpProblem } from "@/api/upload";
import { type Endpoint } from "@/base/code_samples";
import { SseParser } from "@/base/sse";
import { type ShownToken, type ToolCall } from "@/base/talk";

/** What has come of an answer so far. */
export interface Answer {
  text: string;
  calls: ToolCall[];
  tokens: ShownToken[];
  /** Empty until it ends. */
  finishReason: string;
  promptTokens?: number;
  completionTokens?: number;
  /** Milliseconds from the request to the first token and to the last. */
  firstAfterMs?: number;
  lastAfterMs?: number;
}

interface Entry {
  token: string;
  logprob: number;
  bytes?: number[] | null;
}
interface Choice {
  /** Of the answers that were asked for. */
  index?: number;
  text?: string;
  delta?: { content?: string | null; tool_calls?: { index: number; id?: string; function?: { name?: string; arguments?: string } }[] };
  finish_reason?: string | null;
  logprobs?: {
    content?: (Entry & { top_logprobs?: Entry[] })[];
    tokens?: string[];
    token_logprobs?: (number | null)[];
    top_logprobs?: (Record<string, number> | null)[];
  } | null;
}
interface Chunk {
  choices?: Choice[];
  usage?: { prompt_tokens?: number; completion_tokens?: number } | null;
  error?: { message?: string };
}

/** Adds what chunks bring to the first answer and the others that were asked for beside it. */
export class AnswerReader {
  private readonly choices = [new ChoiceReader()];

  /** The first, which also has what was measured over all. */
  get answer(): Answer {
    return this.choices[0]!.answer;
  }
  get others(): Answer[] {
    return this.choices.slice(1).map((one) => one.answer);
  }

  take(chunk: Chunk): void {
    const { answer } = this;
    if (chunk.usage?.prompt_tokens !== undefined) answer.promptTokens = chunk.usage.prompt_tokens;
    if (chunk.usage?.completion_tokens !== undefined) answer.completionTokens = chunk.usage.completion_tokens;
    for (const choice of chunk.choices ?? []) {
      const index = choice.index ?? 0;
      while (this.choices.length <= index) this.choices.push(new ChoiceReader());
      this.choices[index]!.take(choice);
    }
  }
}

/** One answer. Characters that span tokens are put together: the first token of them shows them all. */
class ChoiceReader {
  readonly answer: Answer = { text: "", calls: [], tokens: [], finishReason: "" };
  private openBytes: number[] = [];

  take(choice: Choice): void {
    const { answer } = this;
    answer.text += choice.text ?? choice.delta?.content ?? "";
    for (const piece of choice.delta?.tool_calls ?? []) {
      const call = (answer.calls[piece.index] ??= { id: "", name: "", arguments: "" });
      if (piece.id) call.id = piece.id;
      if (piece.function?.name) call.name = piece.function.name;
      call.arguments += piece.function?.arguments ?? "";
    }
    for (const entry of choice.logprobs?.content ?? []) this.takeEntry(entry);
    const { tokens = [], token_logprobs = [], top_logprobs = [] } = choice.logprobs ?? {};
    tokens.forEach((token, index) => {
      const top = Object.entries(top_logprobs?.[index] ?? {}).map(([other, logprob]) => ({ token: other, logprob }));
      answer.tokens.push({ token, logprob: token_logprobs[index] ?? 0, top });
    });
    if (choice.finish_reason) answer.finishReason = choice.finish_reason;
  }

  private takeEntry(entry: Entry & { top_logprobs?: Entry[] }): void {
    const top = (entry.top_logprobs ?? []).map(({ token, logprob }) => ({ token, logprob }));
    let token = entry.token;
    if (entry.bytes) {
      this.openBytes.push(...entry.bytes);
      try {
        token = new TextDecoder("utf-8", { fatal: true }).decode(new Uint8Array(this.openBytes));
        this.openBytes = [];
      } catch {
        token = ""; // shown by the token that completes the character
        if (this.openBytes.length > 8) this.openBytes = [];
      }
    }
    this.answer.tokens.push({ token, logprob: entry.logprob, top });
  }
}

/** Calls `onPiece` after every piece; resolves with the whole at the end of the stream. */
export async function streamAnswer(
  endpoint: Endpoint,
  body: Record<string, unknown>,
  onPiece: (reader: AnswerReader) => void,
  signal: AbortSignal,
): Promise<AnswerReader> {
  const startedAt = performance.now();
  const response = await fetch(`/v1/${endpoint}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ ...body, stream: true, stream_options: { include_usage: true } }),
    signal,
  });
  if (response.status === 401) reportSignedOut();
  if (!response.ok || !response.body) throw await httpProblem(response, "The deployment did not answer");

  const parser = new SseParser();
  const decoder = new TextDecoder();
  const stream = response.body.getReader();
  const reader = new AnswerReader();
  for (;;) {
    const { done, value } = await stream.read();
    if (done) return reader;
    for (const data of parser.feed(decoder.decode(value, { stream: true }))) {
      if (data === "[DONE]") continue;
      const chunk = JSON.parse(data) as Chunk;
      if (chunk.error) throw new Error(chunk.error.message ?? "The deployment broke off its answer.");
      const { answer } = reader;
      const before = sizeOf(reader);
      reader.take(chunk);
      const now = performance.now() - startedAt;
      if (sizeOf(reader) > before) answer.firstAfterMs ??= now;
      if (chunk.choices?.length) answer.lastAfterMs = now;
      onPiece(reader);
    }
  }
}

const sizeOf = (reader: AnswerReader) =>
  [reader.answer, ...reader.others].reduce((sum, one) => sum + one.text.length + one.calls.length + one.tokens.length, 0);
