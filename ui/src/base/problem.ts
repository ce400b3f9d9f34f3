// What went wrong, in the parts that every error shows: what happened, to which field, what to do, a code to search for.

export interface FieldProblem {
  field: string;
  message: string;
  advice: string;
}

export interface Problem {
  message: string;
  advice: string;
  /** UPPER_SNAKE, stable. */
  code: string;
  field: string;
  violations: FieldProblem[];
  /** True when trying again may help: the backend could not be reached. */
  transient: boolean;
}

/** "Learning rate is 7, out of range" and "use 1e-7 to 0.1" as one line. */
export function withAdvice(message: string, advice: string): string {
  if (!advice) return message;
  return /[.!?:;]$/.test(message) ? `${message} ${advice}` : `${message}: ${advice}`;
}

/** With a capital in front, when it begins with a plain word and not with a name. */
export function asSentence(text: string): string {
  return /^[a-z]+[ ,'’]/.test(text) ? text.charAt(0).toUpperCase() + text.slice(1) : text;
}
