// The talks of a playground, one per model name: asks, streams, stops, asks again; kept by the browser between visits.
import { useCallback, useEffect, useRef, useState } from "react";
import { type Answer, type AnswerReader, streamAnswer } from "@/api/chat";
import { toProblem } from "@/api/problems";
import { type Problem } from "@/base/problem";
import { type Mode } from "@/base/sampling";
import { readStored, writeStored } from "@/base/storage";
import { chatBody, cutAtUser, type Measured, type Said, type Scene, takeOther, textBody, type Turn } from "@/base/talk";

export interface Talk {
  turns: Turn[];
  streaming: boolean;
  problem: Problem | null;
}
export const emptyTalk: Talk = { turns: [], streaming: false, problem: null };
const keptTurns = 100;
// Probabilities are many: those of the last answers are kept, or the browser's store would be full.
const keptTokenTurns = 4;

function toKeep(turns: readonly Turn[]): Turn[] {
  let withTokens = 0;
  return turns
    .slice(-keptTurns)
    .reverse()
    .map((turn): Turn => {
      const kept = turn.others ? { ...turn, others: turn.others.map((one) => ({ ...one, tokens: undefined })) } : turn;
      if (!turn.tokens || (withTokens += 1) <= keptTokenTurns) return kept;
      return { ...kept, tokens: undefined };
    })
    .reverse();
}

function measure(answer: Answer): Measured {
  const { firstAfterMs, lastAfterMs, completionTokens = answer.tokens.length || undefined } = answer;
  const seconds = firstAfterMs !== undefined && lastAfterMs !== undefined ? (lastAfterMs - firstAfterMs) / 1000 : 0;
  return {
    finishReason: answer.finishReason,
    ...(firstAfterMs !== undefined ? { firstAfterSeconds: firstAfterMs / 1000 } : {}),
    ...(completionTokens !== undefined && completionTokens > 1 && seconds > 0 ? { tokensPerSecond: (completionTokens - 1) / seconds } : {}),
    ...(completionTokens !== undefined ? { completionTokens } : {}),
    ...(answer.promptTokens !== undefined ? { promptTokens: answer.promptTokens } : {}),
  };
}

function asTurn({ answer, others }: AnswerReader): Turn {
  return { role: "assistant", ...asSaid(answer), ...(others.length > 0 ? { others: others.map(asSaid) } : {}) };
}

function asSaid(answer: Answer): Said {
  return {
    content: answer.text,
    ...(answer.calls.length > 0 ? { calls: answer.calls.map((call) => ({ ...call })) } : {}),
    ...(answer.tokens.length > 0 ? { tokens: answer.tokens.slice() } : {}),
  };
}

export interface Talks {
  of(name: string): Talk;
  busy: boolean;
  /** The same words to every one of the names. */
  send(names: readonly string[], text: string): void;
  /** The last answer once more; of one name. */
  regenerate(name: string): void;
  /** Says the n-th message of the user otherwise; what came after it is asked anew. */
  edit(names: readonly string[], number: number, text: string): void;
  /** Goes on from another one of the answers. */
  take(name: string, index: number, other: number): void;
  /** Puts other words into the model's mouth. */
  editAnswer(name: string, index: number, text: string): void;
  /** Results of the calls that the last answer made, by the call's id. */
  answerCalls(name: string, results: Record<string, string>): void;
  stop(): void;
  clear(): void;
}

export function useTalks(storeKey: string, scene: Scene, mode: Mode): Talks {
  const [talks, setTalks] = useState<Record<string, Talk>>(() => {
    const stored = readStored<Record<string, Turn[]>>(storeKey, {});
    return Object.fromEntries(Object.entries(stored).map(([name, turns]) => [name, { ...emptyTalk, turns }]));
  });
  const stops = useRef(new Map<string, AbortController>());
  const latest = useRef({ scene, mode, talks });
  latest.current = { scene, mode, talks };
  const busy = Object.values(talks).some((talk) => talk.streaming);

  useEffect(() => {
    const running = stops.current;
    return () => running.forEach((stop) => stop.abort());
  }, []);
  useEffect(() => {
    if (busy) return;
    writeStored(storeKey, Object.fromEntries(Object.entries(talks).map(([name, { turns }]) => [name, toKeep(turns)])));
  }, [talks, busy, storeKey]);

  const update = useCallback(
    (name: string, change: Partial<Talk>) => setTalks((old) => ({ ...old, [name]: { ...emptyTalk, ...old[name], ...change } })),
    [],
  );

  const ask = useCallback(
    async (name: string, turns: Turn[], before: Turn[]) => {
      const { scene: now, mode: how } = latest.current;
      const stop = new AbortController();
      stops.current.get(name)?.abort();
      stops.current.set(name, stop);
      update(name, { turns: [...turns, { role: "assistant", content: "" }], streaming: true, problem: null });
      let frame = 0;
      let came: AnswerReader | null = null;
      const show = (measured?: Measured) => {
        if (came) update(name, { turns: [...turns, { ...asTurn(came), ...(measured ? { measured } : {}) }] });
      };
      try {
        const prompt = turns[turns.length - 1]?.content ?? "";
        const body = how === "chat" ? chatBody(name, now, turns) : textBody(name, now, prompt);
        const whole = await streamAnswer(
          how === "chat" ? "chat/completions" : "completions",
          body,
          (reader) => {
            came = reader;
            frame ||= requestAnimationFrame(() => {
              frame = 0;
              show();
            });
          },
          stop.signal,
        );
        came = whole;
        cancelAnimationFrame(frame);
        show(measure(whole.answer));
        update(name, { streaming: false });
      } catch (error) {
        cancelAnimationFrame(frame);
        if (stops.current.get(name) !== stop) return; // asked anew meanwhile
        const partial = (came as AnswerReader | null)?.answer;
        if (partial && (partial.text || partial.calls.length)) {
          show({ ...measure(partial), finishReason: "stopped" });
          update(name, { streaming: false, problem: stop.signal.aborted ? null : toProblem(error) });
        } else {
          // An answer that never began is taken back with its question.
          update(name, { turns: before, streaming: false, problem: stop.signal.aborted ? null : toProblem(error) });
        }
      }
    },
    [update],
  );

  const turnsOf = (name: string) => latest.current.talks[name]?.turns ?? [];
  return {
    of: (name) => talks[name] ?? emptyTalk,
    busy,
    send: (names, text) => {
      for (const name of names) {
        const before = mode === "chat" ? turnsOf(name) : [];
        void ask(name, [...before, { role: "user", content: text }], before);
      }
    },
    regenerate: (name) => {
      const turns = turnsOf(name);
      const last = turns.map((turn) => turn.role).lastIndexOf("assistant");
      if (last > 0) void ask(name, turns.slice(0, last), turns);
    },
    edit: (names, number, text) => {
      for (const name of names) {
        const turns = turnsOf(name);
        void ask(name, [...cutAtUser(turns, number), { role: "user", content: text }], turns);
      }
    },
    take: (name, index, other) =>
      update(name, { turns: turnsOf(name).map((turn, at) => (at === index ? takeOther(turn, other) : turn)) }),
    editAnswer: (name, index, text) => {
      const turns = turnsOf(name).map((turn, at): Turn => {
        if (at !== index) return turn;
        // What was measured, and the probabilities, are those of the model's own words.
        const { role, calls } = turn;
        return { role, content: text, ...(calls ? { calls } : {}) };
      });
      update(name, { turns });
    },
    answerCalls: (name, results) => {
      const turns = turnsOf(name);
      const told = Object.entries(results).map(([callId, content]): Turn => ({ role: "tool", callId, content }));
      void ask(name, [...turns, ...told], turns);
    },
    stop: () => stops.current.forEach((stop) => stop.abort()),
    clear: () => {
      stops.current.forEach((stop) => stop.abort());
      setTalks({});
    },
  };
}
