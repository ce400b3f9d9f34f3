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
