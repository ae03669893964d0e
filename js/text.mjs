// From texts to the rows of ids that a model takes: checked, cut where that is wanted, padded.

import { InvalidInputError, beginning, kindOf, quoted, shown } from "./errors.mjs";
import { decoded } from "./strict-json.mjs";
import { InputIds, isList, isTensor } from "./validation.mjs";

const LONE_SURROGATE = /\p{Surrogate}/u;

/**
 * What is to be read as texts, one for each row; null where it is rows of ids, or nothing.
 *
 * A list of single things is one of texts, whatever these are: who encodes them finds out.
 *
 * @throws {InvalidInputError} it is one text alone.
 */
export function textsOf(given) {
  if (typeof given === "string") {
    throw new InvalidInputError(
      `given is one text, ${quoted(beginning(given, 40))}; allowed: a list of texts, as [text]`,
    );
  }
  if (isTensor(given) && given.type === "string") {
    if (given.dims.length === 1) return given.data;
    throw new InvalidInputError(
      `given is text of shape [${given.dims.join(", ")}]; allowed: one text a row, [batch]`,
    );
  }
  const [first] = Array.isArray(given) ? given : [[]];
  return given?.length && (first === null || typeof first !== "object") ? given : null;
}

/** Makes rows of ids of texts. */
export class RowEncoder {
  /**
   * @param tokenizer makes ids of a text; see `openTokenizer`.
   * @param signature what rows the model takes.
   * @param {"start" | "end" | null} truncation which end of a text that is too long is cut off.
   * @throws {InvalidInputError} the ids of the tokenizer are not those of the model.
   */
  constructor(tokenizer, signature, truncation) {
    if (tokenizer.vocabSize > signature.vocab_size) {
      throw new InvalidInputError(
        `the tokenizer gives ids 0 to ${tokenizer.vocabSize - 1}; ` +
          `allowed: 0 to ${signature.vocab_size - 1}, which the model takes`,
      );
    }
    if (tokenizer.around >= signature.max_length) {
      throw new InvalidInputError(
        `the tokenizer adds ${tokenizer.around} ids to each text; allowed: fewer than ` +
          `max_length ${signature.max_length}`,
      );
    }
    this.tokenizer = tokenizer;
    this.signature = signature;
    this.truncation = truncation;
    this.truncated = 0;
  }

  /**
   * The rows of some texts.
   *
   * @param {ArrayLike<unknown>} given texts.
   * @returns {InputIds} `[texts, longest]`, `[0, 0]` for none.
   * @throws {InvalidInputError} naming the first text that is none, holds half a surrogate pair, has
   *   too few or too many tokens, or none that is in the vocabulary.
   */
  encode(given) {
    const texts = Array.from(given); // a hole in a list is undefined
    checkTypes(texts);
    const { tokenizer, signature, truncation } = this;
    const most = truncation === null ? Infinity : signature.max_length;
    checkUnicode(texts, (text) => tokenizer.seen(text, most, truncation));
    let cut = 0;
    const rows = texts.map((text, row) => {
      const found = tokenizer.tokens(text, most, truncation, row);
      cut += found.isCut;
      return found.ids;
    });
    if (!rows.length) return new InputIds(0, 0);
    this.#checkLengths(rows);
    if (tokenizer.unknownId !== null) this.#checkKnown(rows);
    this.truncated += cut;
    const longest = rows.reduce((most, { length }) => Math.max(most, length), 0);
    if (signature.pad_id === null) this.#checkEqual(rows);
    const ids = new InputIds(rows.length, longest);
    rows.forEach((row, number) => {
      for (let column = 0; column < longest; column++) {
        const at = 2 * (number * longest + column);
        ids.low[at] = column < row.length ? row[column] : signature.pad_id;
      }
    });
    return ids;
  }

  #checkLengths(rows) {
    const { min_length: shortest, max_length: longest } = this.signature;
    const row = rows.findIndex(({ length }) => length < shortest || length > longest);
    if (row < 0) return;
    const { length } = rows[row];
    const cure = length > longest ? "; truncation='end' or 'start' cuts such texts" : "";
    throw new InvalidInputError(
      `the text has ${length} ${this.tokenizer.unit}; allowed: ${shortest} to ${longest}${cure}`,
      { row },
    );
  }

  /** Refuse a text of which nothing is known: an answer to it would be one to any such. */
  #checkKnown(rows) {
    const { around, unknownId, unit } = this.tokenizer;
    rows.forEach((ids, row) => {
      const known = ids.reduce((count, id) => count + (id !== unknownId), 0);
      if (known > around || ids.length <= around) return;
      throw new InvalidInputError(
        `none of its ${unit} (${ids.length - around}) is in the vocabulary; ` +
          "allowed: a text with one or more that is",
        { row },
      );
    });
  }

  #checkEqual(rows) {
    const first = rows[0].length;
    const row = rows.findIndex(({ length }) => length !== first);
    if (row < 0) return;
    const { unit } = this.tokenizer;
    throw new InvalidInputError(
      `the text has ${rows[row].length} ${unit} where row 0 has ${first}; ` +
        "texts of differing length need a model with a pad_id",
      { row },
    );
  }
}

function checkTypes(texts) {
  texts.forEach((text, row) => {
    if (typeof text === "string") return;
    if (text instanceof Uint8Array) {
      throw new InvalidInputError(
        "is bytes; allowed: text, as new TextDecoder().decode(bytes) gives",
        { row },
      );
    }
    throw new InvalidInputError(`is ${listed(text)} (${kindOf(text)}); allowed: text`, { row });
  });
}

const listed = (value) =>
  (isList(value) ? `[${Array.from(value, shown).join(", ")}]` : shown(value)).slice(0, 60);

function checkUnicode(texts, seen) {
  if (!texts.some((text) => LONE_SURROGATE.test(seen(text)))) return;
  texts.forEach((text, row) => {
    const characters = Array.from(text);
    const at = characters.findIndex((character) => LONE_SURROGATE.test(character));
    if (at < 0) return;
    throw new InvalidInputError(
      `character ${at} is ${quoted(characters[at])}, half a surrogate pair; allowed: Unicode text`,
      { row },
    );
  });
}

/** The code points of a text at the end that stays. */
function part(list, most, truncation) {
  if (list.length <= most) return list;
  return truncation === "start" ? list.slice(-most) : list.slice(0, most);
}

const codePoints = (text, most, truncation) =>
  text.length <= most ? text : part(Array.from(text), most, truncation).join("");

class ByteTokenizer {
  unit = "bytes";
  vocabSize = 256;
  unknownId = null;
  around = 0;

  /** What of a text is looked at. */
  seen(text, most, truncation) {
    // A character has a byte or more, so that cutting the text first leaves enough of them.
    return codePoints(text, most, truncation);
  }

  tokens(text, most, truncation) {
    const seen = this.seen(text, most, truncation);
    const ids = new TextEncoder().encode(seen);
    return {
      ids: part(ids, most, truncation),
      isCut: seen.length < text.length || ids.length > most,
    };
  }
}

/** Looks tokens up in a vocabulary. The lines of padding and unknown tokens are names, no tokens. */
class VocabularyTokenizer {
  around = 0;

  constructor(entries, { padding, unknown, normalizer }) {
    this.vocabSize = entries.length;
    this.unknownId = unknown;
    this.isNfc = normalizer.includes("nfc");
    this.isLower = normalizer.includes("lower-ascii");
    this.ids = new Map();
    entries.forEach((entry, id) => {
      if (entry && id !== padding && id !== unknown) this.ids.set(entry, id);
    });
  }

  normal(text) {
    const composed = this.isNfc ? text.normalize("NFC") : text;
    if (!this.isLower) return composed;
    return composed.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
  }

  seen(text) {
    return text;
  }

  tokens(text, most, truncation, row) {
    const all = this.split(this.normal(text));
    const kept = part(all, most, truncation);
    const ids = kept.map((token) => {
      const id = this.ids.get(token) ?? this.unknownId;
      if (id === null) throw noId(token, row);
      return id;
    });
    return { ids, isCut: kept.length < all.length };
  }
}

class WordTokenizer extends VocabularyTokenizer {
  unit = "words";

  // U+0009 to U+000D and U+0020, which every language and onnxruntime agree on.
  split(text) {
    return text.split(/[\t-\r ]+/).filter(Boolean);
  }
}

class CharacterTokenizer extends VocabularyTokenizer {
  unit = "characters";

  split(text) {
    return Array.from(text);
  }

  seen(text, most, truncation) {
    return this.isLower ? text : codePoints(this.normal(text), most, truncation);
  }
}

/** The error for a token that is not in a vocabulary without an id for unknown ones. */
export const noId = (token, row) =>
  new InvalidInputError(
    `${quoted(beginning(token, 40))} is not in the vocabulary, which has no id for unknown tokens`,
    { row },
  );

/**
 * The tokenizer that a manifest states, of the bytes of its file.
 *
 * @throws {SyntaxError} the file is malformed.
 */
export function openTokenizer(spec, data) {
  if (spec.kind === "bytes") return new ByteTokenizer();
  const entries = entriesOf(data, spec.kind);
  return spec.kind === "words"
    ? new WordTokenizer(entries, spec)
    : new CharacterTokenizer(entries, spec);
}

/** The entries of `vocab.txt`, a line each. */
function entriesOf(data, kind) {
  const text = decoded(data);
  if (text && !text.endsWith("\n")) throw new SyntaxError("the last line has no end");
  const entries = text.split("\n").slice(0, -1);
  const seen = new Map();
  entries.forEach((entry, id) => {
    if (entry && seen.has(entry)) {
      const first = seen.get(entry);
      throw new SyntaxError(`${quoted(beginning(entry, 40))} is both id ${first} and id ${id}`);
    }
    seen.set(entry, id);
  });
  return kind === "words" ? entries : entries.map((entry) => (entry === "\\n" ? "\n" : entry));
}
