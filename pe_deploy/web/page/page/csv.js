// CSV as Python's csv module reads it strictly, and as it writes it: piece by piece.

const QUOTE = '"';

/** Turns pieces of text into records; a cell that goes on after its closing quote is an error. */
export class CsvParser {
  #delimiter;
  #state = "record";
  #cell = "";
  #record = [];

  constructor(delimiter) {
    this.#delimiter = delimiter;
  }

  /**
   * Take a piece of the text.
   *
   * @param {string} text
   * @param {string[][]} records to which those that end in it are added, before an error is thrown,
   *   too; blank lines are none.
   */
  push(text, records) {
    let at = 0;
    while (at < text.length) at = this.#step(text, at, records);
  }

  /** Add the last record, where the file does not end with a line end. */
  end(records) {
    if (this.#state === "quoted") throw new Error("unexpected end of data");
    if (this.#state !== "record" && this.#state !== "return") this.#endRecord(records);
    this.#state = "record";
  }

  #step(text, at, records) {
    const character = text[at];
    switch (this.#state) {
      case "return": // after a \r outside of quotes
        if (character === "\n") this.#state = "record";
        else if (character !== "\r") throw new Error("new-line character seen in unquoted field");
        return at + 1;
      case "record":
      case "cell":
        if (character === QUOTE) {
          this.#state = "quoted";
          return at + 1;
        }
        if (this.#state === "record" && (character === "\n" || character === "\r")) {
          this.#state = character === "\r" ? "return" : "record";
          return at + 1; // a blank line
        }
        this.#state = "plain";
        return at;
      case "plain":
        return this.#plain(text, at, records);
      case "quoted": {
        const close = text.indexOf(QUOTE, at);
        const end = close < 0 ? text.length : close;
        this.#cell += text.slice(at, end);
        if (close >= 0) this.#state = "closed";
        return end + 1;
      }
      default: // after a quote in a quoted cell
        if (character === QUOTE) {
          this.#cell += QUOTE;
          this.#state = "quoted";
          return at + 1;
        }
        if (character !== this.#delimiter && character !== "\n" && character !== "\r") {
          throw new Error(`'${this.#delimiter}' expected after '"'`);
        }
        this.#state = "plain";
        return at;
    }
  }

  #plain(text, at, records) {
    let end = at;
    while (end < text.length && !this.#ends(text[end])) end += 1;
    this.#cell += text.slice(at, end);
    if (end === text.length) return end;
    if (text[end] === this.#delimiter) {
      this.#endCell();
      this.#state = "cell";
    } else {
      this.#endRecord(records);
      this.#state = text[end] === "\r" ? "return" : "record";
    }
    return end + 1;
  }

  #ends(character) {
    return character === this.#delimiter || character === "\n" || character === "\r";
  }

  #endCell() {
    this.#record.push(this.#cell);
    this.#cell = "";
  }

  #endRecord(records) {
    this.#endCell();
    records.push(this.#record);
    this.#record = [];
  }
}

/** A record as a line, without its end; only cells that need quotes get them. */
export function lineOf(cells, delimiter) {
  if (cells.length === 1 && cells[0] === "") return '""';
  const needsQuotes = (cell) => /["\r\n]/.test(cell) || cell.includes(delimiter);
  const written = cells.map((cell) =>
    needsQuotes(cell) ? `"${cell.replaceAll('"', '""')}"` : cell,
  );
  return written.join(delimiter);
}

const DELIMITERS = [",", ";", "\t"];

/** What separates the cells of a file: as its header shows, where a column that is wanted stands. */
export function delimiterOf(header, wanted) {
  const unquoted = header.replace(/"[^"]*(?:"|$)/g, "");
  const fits = DELIMITERS.map((delimiter) => {
    const names = namesIn(header, delimiter);
    const found = names.some((name) => wanted.includes(name));
    return [Number(found), unquoted.split(delimiter).length - 1];
  });
  const best = fits.reduce(
    (best, fit, at) =>
      fit[0] > fits[best][0] || (fit[0] === fits[best][0] && fit[1] > fits[best][1]) ? at : best,
    0,
  );
  return DELIMITERS[best];
}

function namesIn(header, delimiter) {
  const records = [];
  try {
    const parser = new CsvParser(delimiter);
    parser.push(header, records);
    parser.end(records);
  } catch {
    return []; // which is said when the header is read
  }
  return records[0] ?? [];
}
