// A CSV file with a model's answers added, as `pe-deploy predict` adds them, a few rows at a time.

import { cellsFor, columnsOf } from "./columns.js";
import { CsvParser, delimiterOf, lineOf } from "./csv.js";
import { idsOf } from "./ids.js";
import { InvalidInputError, PredictionError } from "../pe-deploy/pe-deploy.js";

const IDS = "input_ids";
const TEXT = "text";
const ERROR = "error";
const BOM = "\uFEFF";
const MOST_ROWS = 1024;
const LONGEST_TURN = 40; // milliseconds in which the page does nothing else
const PREVIEW = 5;
const SAVE_AS = "save it as UTF-8, which Excel calls 'CSV UTF-8'";

/**
 * Answer each row of a file.
 *
 * @param classifier
 * @param {File} file
 * @param {{tolerant: boolean, progress: (share: number, rows: number) => void, signal: AbortSignal}}
 *   how tolerant: a row that gets no answer has empty cells, and the reason in a column `error`.
 * @returns {Promise<{blob: Blob, rows: number, errors: number, header: string[], first: string[][]}>}
 * @throws {Error} in one line, naming the row.
 */
export async function answered(classifier, file, { tolerant, progress, signal }) {
  const judge = new Judge(classifier, tolerant);
  let table;
  let read = 0;
  let size = 32;
  for await (const piece of pieces(file, (bytes) => (read = bytes))) {
    signal.throwIfAborted();
    table ??= new Table(classifier, file.name, judge);
    table.push(piece);
    size = await table.drain(size, signal, () => progress(read / file.size, table.rows));
  }
  if (!table) throw new Error("the file is empty; allowed: a header, then rows");
  table.end();
  await table.drain(size, signal, () => progress(1, table.rows), true);
  return table.result(file.type || "text/csv");
}

/** The text of a file as it comes; its byte order mark is kept. */
async function* pieces(file, progress) {
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  let bytes = 0;
  const decoded = (...data) => {
    try {
      return decoder.decode(...data);
    } catch {
      throw new Error(`it is not UTF-8 text; ${SAVE_AS}`);
    }
  };
  for (const reader = file.stream().getReader(); ; ) {
    const { done, value } = await reader.read();
    const text = done ? decoded() : decoded(value, { stream: true });
    if (value) progress((bytes += value.length));
    if (text) yield text;
    if (done) return;
  }
}

/** The records of a file, read and written. */
class Table {
  #classifier;
  #name;
  #judge;
  #start = ""; // until the header is whole
  #parser = null;
  #waiting = [];
  #parts = [];
  #newline = "\n";
  #delimiter;

  constructor(classifier, name, judge) {
    this.#classifier = classifier;
    this.#name = name;
    this.#judge = judge;
    this.rows = 0;
    this.errors = 0;
    this.first = [];
    this.header = null;
  }

  push(text) {
    if (!this.#parser) {
      this.#start += text;
      if (!this.#begin(false)) return;
    } else this.#take((records) => this.#parser.push(text, records));
  }

  end() {
    if (!this.#parser && !this.#begin(true)) {
      throw new Error("the file is empty; allowed: a header, then rows");
    }
    this.#take((records) => this.#parser.end(records));
    if (!this.header) throw new Error("header: unexpected end of data");
  }

  /** Begin to read, once the header's first line is there. */
  #begin(isAll) {
    const isMarked = this.#start.startsWith(BOM);
    const text = isMarked ? this.#start.slice(1) : this.#start;
    const line = /^\s*?([^\n]*\S[^\n]*)(\n|$)/.exec(text);
    if (!line || (!line[2] && !isAll)) return false;
    this.#newline = /^[^\n]*\r\n/.test(text) ? "\r\n" : "\n";
    const isTabs = /\.tsv$/i.test(this.#name);
    this.#delimiter = isTabs ? "\t" : delimiterOf(line[1].replace(/\r$/, ""), [IDS, TEXT]);
    this.#parser = new CsvParser(this.#delimiter);
    if (isMarked) this.#parts.push(BOM);
    this.#start = "";
    const rows = text.slice(line.index + line[0].indexOf(line[1]));
    this.#take((records) => this.#parser.push(rows, records));
    return true;
  }

  #take(read) {
    const found = [];
    let problem = null;
    try {
      read(found);
    } catch (error) {
      problem = error.message;
    }
    if (!this.header && found.length) this.#names(found.shift());
    for (const record of found) this.#waiting.push(record);
    if (problem === null) return;
    const where = this.header ? `row ${this.rows + this.#waiting.length + 1}` : "header";
    throw new Error(`${where}: ${problem}`);
  }

  #names(columns) {
    const name = columns.includes(IDS) || !columns.includes(TEXT) ? IDS : TEXT;
    const count = columns.filter((each) => each === name).length;
    if (!count) {
      const or = this.#classifier.takesText ? `'${IDS}' or '${TEXT}'` : `'${IDS}'`;
      throw new Error(`no column ${or}; its columns: ${columns.join(", ")}`);
    }
    if (count > 1) throw new Error(`${count} columns are called '${name}'; allowed: one`);
    if (name === TEXT && !this.#classifier.takesText) {
      throw new Error(
        `column ${name} holds text, and this model takes ids: it has no tokenizer`,
      );
    }
    this.#judge.column = { name, place: columns.indexOf(name) };
    const added = [...columnsOf(this.#classifier), ...(this.#judge.tolerant ? [ERROR] : [])];
    const free = (wanted) => (columns.includes(wanted) ? free(`predicted_${wanted}`) : wanted);
    this.width = columns.length;
    this.header = [...columns, ...added.map(free)];
    this.#parts.push(this.#line(this.header));
  }

  #line(cells) {
    return lineOf(cells, this.#delimiter) + this.#newline;
  }

  /**
   * Answer what waits, as many rows at a time as take a moment.
   *
   * @returns how many rows that are by now.
   */
  async drain(size, signal, progress, isAll = false) {
    while (this.#waiting.length >= size || (isAll && this.#waiting.length)) {
      signal.throwIfAborted();
      const records = this.#waiting.splice(0, size);
      const started = performance.now();
      await this.#answer(records);
      const took = performance.now() - started;
      size = Math.max(8, Math.min(MOST_ROWS, Math.round((size * LONGEST_TURN) / Math.max(took, 1))));
      progress();
      await new Promise((resume) => setTimeout(resume));
    }
    return size;
  }

  async #answer(records) {
    const odd = records.findIndex((record) => record.length !== this.width);
    const right = odd < 0 ? records : records.slice(0, odd);
    const added = await this.#judge.cells(right, this.rows + 1);
    if (odd >= 0) {
      const reason = `${records[odd].length} fields; the header has ${this.width}`;
      throw new Error(`row ${this.rows + odd + 1}: ${reason}`);
    }
    const whole = records.map((record, at) => [...record, ...added[at]]);
    this.#parts.push(whole.map((cells) => this.#line(cells)).join(""));
    if (this.first.length < PREVIEW) this.first.push(...whole.slice(0, PREVIEW - this.first.length));
    this.rows += records.length;
    this.errors = this.#judge.errors;
  }

  result(type) {
    const { rows, errors, header, first } = this;
    return { blob: new Blob(this.#parts, { type }), rows, errors, header, first };
  }
}

/** Asks a classifier, and names a row that gets no answer by its place in the file. */
class Judge {
  #classifier;
  #firstLength = null;

  constructor(classifier, tolerant) {
    this.#classifier = classifier;
    this.tolerant = tolerant;
    this.column = null;
    this.errors = 0;
  }

  /** The added cells of some records. */
  async cells(records, firstRow) {
    const reasons = new Map();
    const given = records.map((record, at) => this.#given(record, firstRow + at, at, reasons));
    const cells = new Array(records.length);
    const readable = given.flatMap((_, at) => (reasons.has(at) ? [] : [at]));
    await this.#part(given, readable, firstRow, cells, reasons);
    if (!this.tolerant) return cells;
    this.errors += reasons.size;
    const empty = columnsOf(this.#classifier).map(() => "");
    return cells.length ? Array.from(cells, (found, at) => [...(found ?? empty), reasons.get(at) ?? ""]) : [];
  }

  /** What the model is given for a record. */
  #given(record, row, at, reasons) {
    const { name, place } = this.column;
    const cell = record[place] ?? "";
    if (name === TEXT) return cell;
    try {
      return idsOf(cell);
    } catch (error) {
      if (!this.tolerant) throw new Error(`row ${row}, column ${name}: ${error.message}`);
      reasons.set(at, `column ${name}: ${error.message}`);
      return null;
    }
  }

  /** The answers of all that have one; where bad rows may stay, what is refused is halved. */
  async #part(given, places, firstRow, cells, reasons) {
    if (!places.length) return;
    const rows = places.map((at) => given[at]);
    try {
      this.#checkLengths(rows);
      const found = await cellsFor(this.#classifier, rows);
      found.forEach((each, index) => (cells[places[index]] = each));
    } catch (error) {
      const isOfRow = error instanceof InvalidInputError || error.row !== undefined;
      if (!isOfRow && !(error instanceof PredictionError)) throw error;
      if (!this.tolerant || !isOfRow) {
        const row = error.row === undefined ? "" : `row ${firstRow + places[error.row]}: `;
        throw new Error(`${row}${error.reason ?? error.message}`);
      }
      if (places.length === 1) {
        reasons.set(places[0], error.reason);
        return;
      }
      const middle = Math.floor(places.length / 2);
      await this.#part(given, places.slice(0, middle), firstRow, cells, reasons);
      await this.#part(given, places.slice(middle), firstRow, cells, reasons);
    }
  }

  /** Over the whole file, so that an answer does not hang on how many rows are asked at a time. */
  #checkLengths(rows) {
    if (this.column.name === TEXT) return;
    const { min_length: shortest, max_length: longest, pad_id: padId } = this.#classifier.signature;
    const first = this.#firstLength ?? rows[0].length;
    const refuse = (row, reason) => {
      throw new InvalidInputError(reason, { row });
    };
    rows.forEach(({ length }, row) => {
      if (length < shortest || length > longest) {
        refuse(row, `has ${length} ids; allowed: ${shortest} to ${longest}`);
      }
    });
    const odd = padId === null ? rows.findIndex(({ length }) => length !== first) : -1;
    if (odd >= 0) {
      refuse(
        odd,
        `has ${rows[odd].length} ids where the first row has ${first}; ` +
          "rows of differing length need a model with a pad_id",
      );
    }
    this.#firstLength = first;
  }
}
