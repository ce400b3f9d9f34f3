// Addresses of pages that others link to with more than an id.

/** The playground on a served name, with another beside it. */
export const playgroundAddress = (name: string, other = ""): string =>
  `/deployments/playground?a=${encodeURIComponent(name)}${other ? `&b=${encodeURIComponent(other)}` : ""}`;
