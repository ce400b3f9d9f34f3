// Ranks commands of the palette against what was typed: all its letters in order, words and runs first.

/** Higher is better; negative infinity when the letters are not all there in order. */
export function fuzzyScore(query: string, text: string): number {
  const wanted = query.toLowerCase().replace(/\s+/g, "");
  const target = text.toLowerCase();
  if (!wanted) return 0;
  let score = 0;
  let at = -1;
  for (const letter of wanted) {
    const found = target.indexOf(letter, at + 1);
    if (found < 0) return Number.NEGATIVE_INFINITY;
    if (found === at + 1) score += 3;
    if (found === 0 || /[\s/:_.-]/.test(target[found - 1]!)) score += 4;
    score -= Math.min(found - at - 1, 10) * 0.1;
    at = found;
  }
  return score - target.length * 0.01;
}

export function rank<T>(query: string, items: readonly T[], text: (item: T) => string): T[] {
  return items
    .map((item, index) => ({ item, index, score: fuzzyScore(query, text(item)) }))
    .filter((one) => one.score > Number.NEGATIVE_INFINITY)
    .sort((a, b) => b.score - a.score || a.index - b.index)
    .map((one) => one.item);
}
