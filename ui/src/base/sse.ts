// Reads a text/event-stream body: the data of each event, in order. The chat client uses it.

/** Cuts chunks of text into events; feed() answers the data of those that are complete. */
export class SseParser {
  private rest = "";

  feed(chunk: string): string[] {
    this.rest += chunk;
    const events: string[] = [];
    for (;;) {
      const end = /\r?\n\r?\n/.exec(this.rest);
      if (!end) return events;
      const block = this.rest.slice(0, end.index);
      this.rest = this.rest.slice(end.index + end[0].length);
      const data = block
        .split(/\r?\n/)
        .filter((line) => line.startsWith("data:"))
        .map((line) => line.slice(5).replace(/^ /, ""));
      if (data.length > 0) events.push(data.join("\n"));
    }
  }
}
