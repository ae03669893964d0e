// The kind `tokenizer.json`: run by Hugging Face's JavaScript library, which the app hands in.
//
// It is another implementation than the Rust library that made the bundle, and does not give the same
// ids for every file; so `open` replays the golden texts of such a bundle, always.

import { InvalidInputError, MissingDependencyError, lineOf } from "./errors.mjs";
import { parseJson } from "./strict-json.mjs";
import { noId } from "./text.mjs";

const MOST_IDS = 2 ** 22;

/**
 * @param spec the field `text` of the manifest.
 * @param {Uint8Array} data the bytes of the file.
 * @param library the module @huggingface/tokenizers.
 * @throws {MissingDependencyError} the library was not handed in.
 * @throws {SyntaxError} it does not read the file, or the file is not the one that is stated.
 */
export function openJsonTokenizer(spec, data, library) {
  const Engine = library?.Tokenizer ?? library?.default?.Tokenizer;
  if (!Engine) {
    throw new MissingDependencyError(
      "this bundle has a tokenizer.json; run: npm install @huggingface/tokenizers, " +
        "and hand the module in, as open(folder, ort, { tokenizers })",
    );
  }
  const values = parseJson(data);
  try {
    return new JsonTokenizer(spec, values, Engine);
  } catch (error) {
    throw new SyntaxError(`@huggingface/tokenizers does not read it: ${lineOf(error)}`);
  }
}

class JsonTokenizer {
  unit = "tokens";

  constructor({ padding, unknown, normalizer }, values, Engine) {
    const names = namesOf(values.normalizer);
    const whole = new Engine(values, {});
    const stated = unknownOf(values.model, whole);
    if (stated !== unknown || names.join() !== normalizer.join()) {
      throw new Error(
        `its unknown id and normalizer are (${stated}, [${names}]); ` +
          `stated: (${unknown}, [${normalizer}])`,
      );
    }
    this.padId = padding;
    this.unknownId = unknown;
    this.vocabSize = 1 + highestId(values);
    if (this.vocabSize > MOST_IDS) {
      throw new Error(`it has the id ${this.vocabSize - 1}; allowed: 0 to ${MOST_IDS - 1}`);
    }
    [this.before, this.after] = specialIds(whole);
    // The names of special tokens in a text are text: an engine that does not know them.
    const plain = values.added_tokens.filter(({ special }) => !special);
    this.engine = new Engine({ ...values, added_tokens: plain }, {});
    this.padding = padding === null ? "" : whole.id_to_token(padding);
  }

  /** How many special tokens each row gets. */
  get around() {
    return this.before.length + this.after.length;
  }

  seen(text) {
    return text;
  }

  tokens(text, most, truncation, row) {
    const ids = this.#encoded(text, row);
    const room = most - this.around;
    const isCut = ids.length > room;
    const kept = !isCut ? ids : truncation === "start" ? ids.slice(-room) : ids.slice(0, room);
    return { ids: [...this.before, ...kept, ...this.after], isCut };
  }

  #encoded(text, row) {
    let ids;
    try {
      ({ ids } = this.engine.encode(text, { add_special_tokens: false }));
    } catch (error) {
      throw new InvalidInputError(`tokenizers fails: ${lineOf(error)}`, { row, cause: error });
    }
    return ids.map((given) => {
      const id = given ?? this.unknownId; // some models leave an unknown word to the reader
      if (!Number.isInteger(id)) {
        throw new InvalidInputError("tokenizers gives no id for a token of it", { row });
      }
      // Some models look the padding's name up as any other word.
      if (id !== this.padId) return id;
      if (this.unknownId === null || this.unknownId === this.padId) throw noId(this.padding, row);
      return this.unknownId;
    });
  }
}

/** The special tokens that stand before and after the ids of each text. */
function specialIds(engine) {
  for (const text of ["a", "b", "the", "0", "я", "中"]) {
    const inner = engine.encode(text, { add_special_tokens: false }).ids;
    const { ids } = engine.encode(text);
    const around = ids.length - inner.length;
    const fits = Array.from({ length: around + 1 }, (_, start) => start).filter((start) =>
      inner.every((id, at) => ids[start + at] === id),
    );
    if (inner.length && fits.length === 1) {
      return [ids.slice(0, fits[0]), ids.slice(fits[0] + inner.length)];
    }
  }
  throw new Error("where its special tokens stand cannot be told");
}

function unknownOf(model, engine) {
  const id = model.unk_token ? engine.token_to_id(model.unk_token) : model.unk_id;
  return Number.isInteger(id) ? id : null;
}

function highestId({ model, added_tokens: added }) {
  const ids = Array.isArray(model.vocab) ? [model.vocab.length - 1] : Object.values(model.vocab);
  return [...ids, ...added.map(({ id }) => id)].reduce((most, id) => Math.max(most, id), -1);
}

/** The names of what a file does to a text first, in order. */
function namesOf(normalizer) {
  if (typeof normalizer !== "object" || normalizer === null) return [];
  const inner = normalizer.normalizers;
  return Array.isArray(inner) ? inner.flatMap(namesOf) : [String(normalizer.type)];
}
