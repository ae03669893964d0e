// JSON from a stranger: what could be read in two ways, or costs more than it says, is refused.

import { beginning, quoted } from "./errors.mjs";

const DEEPEST = 32;
const TOKEN = /[ \t\r\n]*(?:([[\]{}:,])|("(?:[^"\\\0-\x1f]|\\.)*")|([-\w.+]+))/y;
const NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?$/;
const LONE_SURROGATE = /\p{Surrogate}/u;

/**
 * Read JSON in UTF-8. A whole number that a double does not hold becomes a bigint.
 *
 * @param {Uint8Array} data
 * @returns {any}
 * @throws {SyntaxError} it is not JSON, names a key twice, is nested deeper than 32 levels, or holds
 *   a number that is not finite or a text that is not Unicode.
 */
export function parseJson(data) {
  return new Reader(decoded(data)).document();
}

/**
 * The text of bytes in UTF-8, a byte order mark included.
 *
 * @throws {SyntaxError} they are not UTF-8.
 */
export function decoded(data) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(data);
  } catch {
    throw new SyntaxError("it is not UTF-8");
  }
}

/** Whether a value is an object of JSON. */
export const isObject = (value) =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Whether two values are the same JSON. */
export function isSame(first, second) {
  if (!isObject(first) && !Array.isArray(first)) return first === second;
  if (!second || Array.isArray(first) !== Array.isArray(second)) return false;
  const keys = Object.keys(first);
  return (
    keys.length === Object.keys(second).length &&
    keys.every((key) => Object.hasOwn(second, key) && isSame(first[key], second[key]))
  );
}

class Reader {
  constructor(text) {
    this.text = text;
    this.at = 0;
  }

  document() {
    const value = this.value(this.token(), 0);
    if (/[^ \t\r\n]/.test(this.text.slice(this.at))) throw this.unexpected();
    return value;
  }

  token() {
    TOKEN.lastIndex = this.at;
    const found = TOKEN.exec(this.text);
    if (!found) throw this.unexpected();
    this.at = TOKEN.lastIndex;
    return found[1] ?? found[2] ?? found[3];
  }

  value(token, depth) {
    if (token === "{" || token === "[") {
      if (depth === DEEPEST) throw new SyntaxError(`nested deeper than ${DEEPEST} levels`);
      return token === "{" ? this.object(depth + 1) : this.array(depth + 1);
    }
    if (token[0] === '"') return this.string(token);
    if (NUMBER.test(token)) return number(token);
    const literal = { true: true, false: false, null: null }[token];
    if (literal === undefined) throw this.unexpected();
    return literal;
  }

  object(depth) {
    const values = new Map();
    let token = this.token();
    while (token !== "}") {
      if (token[0] !== '"') throw this.unexpected();
      const key = this.string(token);
      if (values.has(key)) throw new SyntaxError(`key ${quoted(beginning(key, 100))} occurs twice`);
      if (this.token() !== ":") throw this.unexpected();
      values.set(key, this.value(this.token(), depth));
      token = this.next("}");
    }
    // Own fields, whatever they are called: `__proto__` too.
    return Object.fromEntries(values);
  }

  array(depth) {
    const values = [];
    let token = this.token();
    while (token !== "]") {
      values.push(this.value(token, depth));
      token = this.next("]");
    }
    return values;
  }

  /** The end, or what follows a comma, which is not the end. */
  next(end) {
    const token = this.token();
    if (token === end) return token;
    if (token !== ",") throw this.unexpected();
    const following = this.token();
    if (following === end) throw this.unexpected();
    return following;
  }

  string(token) {
    const text = JSON.parse(token);
    if (LONE_SURROGATE.test(text)) throw new SyntaxError("it holds half a surrogate pair");
    return text;
  }

  unexpected() {
    return new SyntaxError(`it is malformed near character ${this.at}`);
  }
}

function number(digits) {
  const value = Number(digits);
  if (!Number.isFinite(value)) throw new SyntaxError("a number that is not finite");
  const isWhole = /^-?\d+$/.test(digits);
  if (isWhole && digits.length > 20) {
    throw new SyntaxError(`a whole number of ${digits.length} digits`);
  }
  return isWhole && !Number.isSafeInteger(value) ? BigInt(digits) : value;
}
