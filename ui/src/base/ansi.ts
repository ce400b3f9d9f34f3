// Cuts a line of a terminal program into runs of one look, by its ANSI SGR sequences. The log widget draws them.

export interface AnsiSpan {
  text: string;
  /** 0-7 normal, 8-15 bright; undefined for the default. */
  color?: number;
  bold?: boolean;
  dim?: boolean;
}

// Control sequences: ESC [ parameters letter; others (ESC ] … BEL) are dropped.
// eslint-disable-next-line no-control-regex
const sequence = /\u001b(?:\[([0-9;?]*)([A-Za-z])|\][^\u0007\u001b]*(?:\u0007|\u001b\\)?)/g;

export function parseAnsi(line: string): AnsiSpan[] {
  if (!line.includes("\u001b")) return [{ text: line }];
  const spans: AnsiSpan[] = [];
  let style: Omit<AnsiSpan, "text"> = {};
  let from = 0;
  const push = (text: string) => {
    if (text) spans.push({ text, ...style });
  };
  for (const match of line.matchAll(sequence)) {
    push(line.slice(from, match.index));
    from = match.index + match[0].length;
    if (match[2] === "m") style = applyCodes(style, match[1] ?? "");
  }
  push(line.slice(from));
  return spans;
}

function applyCodes(style: Omit<AnsiSpan, "text">, codes: string): Omit<AnsiSpan, "text"> {
  let next = { ...style };
  const list = codes.split(";").map(Number);
  for (let index = 0; index < list.length; index += 1) {
    const code = list[index] ?? 0;
    if (code === 0) next = {};
    else if (code === 1) next.bold = true;
    else if (code === 2) next.dim = true;
    else if (code === 22) {
      delete next.bold;
      delete next.dim;
    } else if (code >= 30 && code <= 37) next.color = code - 30;
    else if (code >= 90 && code <= 97) next.color = code - 90 + 8;
    else if (code === 39) delete next.color;
    else if (code === 38 || code === 48) {
      // 256 colours and RGB: the first sixteen are kept, the rest keep the default.
      if (list[index + 1] === 5) {
        const color = list[index + 2] ?? 0;
        if (code === 38 && color < 16) next.color = color;
        index += 2;
      } else if (list[index + 1] === 2) index += 4;
    }
  }
  return next;
}

/** The text alone, for search and download. */
export function stripAnsi(line: string): string {
  return line.includes("\u001b") ? line.replace(sequence, "") : line;
}
