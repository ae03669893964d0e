// The errors that are raised on purpose, each with one line for its message.

const LONGEST = 2000;
const LONGEST_SHOWN = 40;

/** Base of every error that this module raises on purpose. */
export class PeDeployError extends Error {
  /**
   * @param {string} reason what is wrong, without the row.
   * @param {{row?: number, cause?: unknown}} [where] the row that is to blame, counted from 0.
   */
  constructor(reason, { row, cause } = {}) {
    const whole = printable(row === undefined ? reason : `row ${row}: ${reason}`);
    const message = whole.length <= LONGEST ? whole : `${whole.slice(0, LONGEST)}…`;
    super(message, cause === undefined ? undefined : { cause });
    this.reason = reason;
    this.row = row;
  }

  get name() {
    return this.constructor.title;
  }

  // A minifier renames classes; apps that log errors want the name.
  static title = "PeDeployError";
}

/** An input or a setting outside its allowed range. */
export class InvalidInputError extends PeDeployError {
  static title = "InvalidInputError";
}

/** A valid input that gets no answer: not finite, the engine fails, or the classifier was closed. */
export class PredictionError extends PeDeployError {
  static title = "PredictionError";
}

/** A bundle that is incomplete, changed since it was published, or of an unknown format. */
export class BundleError extends PeDeployError {
  static title = "BundleError";
}

/** A model that does not compute what was published. */
export class ParityError extends PeDeployError {
  static title = "ParityError";
}

/** A library that the bundle needs, and that was not handed in. */
export class MissingDependencyError extends PeDeployError {
  static title = "MissingDependencyError";
}

/** The text in one line that any terminal can show: what is not printable is escaped. */
export function printable(text) {
  return text.replace(/(?! )[\p{C}\p{Z}]/gu, escaped);
}

function escaped(character) {
  const short = { "\n": "\\n", "\r": "\\r", "\t": "\\t" }[character];
  if (short) return short;
  const code = character.codePointAt(0);
  const hex = code.toString(16);
  if (code < 0x100) return `\\x${hex.padStart(2, "0")}`;
  return code < 0x10000 ? `\\u${hex.padStart(4, "0")}` : `\\U${hex.padStart(8, "0")}`;
}

/** The text of another library's error in one line; its class, where it has none. */
export function lineOf(error, most = 300) {
  const text = String(error?.message ?? error)
    .trim()
    .split(/\s+/u)
    .join(" ");
  return text.slice(0, most) || error?.constructor?.name || "an error";
}

/** A text as an error quotes it. */
export function quoted(text) {
  const mark = text.includes("'") && !text.includes('"') ? '"' : "'";
  return mark + printable(text.replace(/\\/g, "\\\\").replaceAll(mark, `\\${mark}`)) + mark;
}

/** The first so many code points of a text. */
export function beginning(text, most) {
  return text.length <= most
    ? text
    : Array.from(text.slice(0, 2 * most))
        .slice(0, most)
        .join("");
}

/** Any value as an error shows it: a plain one as it is written, of anything else its kind. */
export function shown(value) {
  if (typeof value === "string") {
    const start = beginning(value, LONGEST_SHOWN);
    return start.length < value.length ? `${quoted(start)}…` : quoted(value);
  }
  if (typeof value === "bigint") {
    const digits = String(value);
    return digits.replace("-", "").length > LONGEST_SHOWN ? "an integer of many digits" : digits;
  }
  if (typeof value === "number") {
    // Every digit that it has: a double above 2^53 is written with fewer.
    const isLarge = Number.isInteger(value) && Math.abs(value) < 10 ** LONGEST_SHOWN;
    return isLarge ? String(BigInt(value)) : String(value);
  }
  if (value === null || value === undefined || typeof value === "boolean") return String(value);
  return `a ${kindOf(value)}`;
}

/** What a value is called: its class, or of a plain value its type. */
export function kindOf(value) {
  if (value === null) return "null";
  if (typeof value !== "object") return typeof value;
  return value.constructor?.name || "Object";
}
