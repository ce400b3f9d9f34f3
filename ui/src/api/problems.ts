// Turns any thrown thing into a Problem: Connect errors with the backend's ErrorDetail, failed fetches, the rest.
import { Code, ConnectError } from "@connectrpc/connect";
import { ErrorDetailSchema } from "@/gen/slipway/v1/error_pb";
import { type Problem } from "@/base/problem";

/** Thrown by what talks HTTP without Connect: uploads and chat. */
export class HttpProblem extends Error {
  constructor(readonly problem: Problem) {
    super(problem.message);
  }
}

export function toProblem(error: unknown): Problem {
  if (error instanceof HttpProblem) return error.problem;
  const connect = ConnectError.from(error);
  const detail = connect.findDetails(ErrorDetailSchema)[0];
  const lost =
    connect.code === Code.Unavailable ||
    (connect.code === Code.Unknown && connect.cause instanceof TypeError) ||
    /Failed to fetch|NetworkError|network error/i.test(connect.rawMessage);
  if (lost && !detail) {
    return {
      message: "The backend cannot be reached.",
      advice: "Check that slipwayd runs; the page goes on by itself when it is back.",
      code: "BACKEND_UNREACHABLE",
      field: "",
      violations: [],
      transient: true,
    };
  }
  return {
    message: connect.rawMessage || "Something went wrong.",
    advice: detail?.advice ?? "",
    code: detail?.reason || Code[connect.code].replace(/([a-z])([A-Z])/g, "$1_$2").toUpperCase(),
    field: detail?.field ?? "",
    violations: detail?.violations.map(({ field, message, advice }) => ({ field, message, advice })) ?? [],
    transient: lost,
  };
}

export function isNotFound(error: unknown): boolean {
  return ConnectError.from(error).code === Code.NotFound;
}
