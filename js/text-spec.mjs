// What a manifest states of the way from texts to ids.

import { InvalidInputError, shown } from "./errors.mjs";

/** The file of a bundle that each kind of tokenizer needs. */
export const TEXT_FILES = {
  bytes: null,
  words: "vocab.txt",
  characters: "vocab.txt",
  "tokenizer.json": "tokenizer.json",
};

const NORMALIZERS = ["nfc", "lower-ascii"];
const BYTE_PADDING = 255;
const LARGEST_SIZE = 2 ** 31 - 1;
const FIELDS = ["kind", "length", "padding", "unknown", "normalizer", "truncation", "left_out"];

/**
 * Check the field `text` of a manifest.
 *
 * @throws {InvalidInputError}
 */
export function checkText(text, signature) {
  const fields = typeof text === "object" && text !== null ? Object.keys(text) : [];
  const unknown = fields.filter((name) => !FIELDS.includes(name));
  const missing = FIELDS.filter((name) => !fields.includes(name));
  if (unknown.length || missing.length) {
    throw new InvalidInputError(`text: unknown fields [${unknown}], missing fields [${missing}]`);
  }
  if (!Object.hasOwn(TEXT_FILES, text.kind)) {
    const kinds = Object.keys(TEXT_FILES).join(", ");
    throw new InvalidInputError(`kind is ${shown(text.kind)}; allowed: ${kinds}`);
  }
  for (const name of ["padding", "unknown"]) {
    const id = text[name];
    if (id !== null && !(Number.isInteger(id) && id >= 0 && id <= LARGEST_SIZE)) {
      throw new InvalidInputError(
        `${name} is ${shown(id)}; allowed: a whole number, 0 to ${LARGEST_SIZE}`,
      );
    }
  }
  if (![null, "start", "end"].includes(text.truncation)) {
    throw new InvalidInputError(
      `truncation is ${shown(text.truncation)}; allowed: 'start', 'end' or null`,
    );
  }
  for (const name of ["normalizer", "left_out"]) {
    if (!Array.isArray(text[name]) || !text[name].every((line) => typeof line === "string")) {
      throw new InvalidInputError(`${name} is ${shown(text[name])}; allowed: texts`);
    }
  }
  if (text.kind === "bytes" && (text.padding !== BYTE_PADDING || text.unknown !== null)) {
    throw new InvalidInputError(
      `padding is ${text.padding} and unknown ${text.unknown}; allowed with bytes: ` +
        `${BYTE_PADDING} and null`,
    );
  }
  if (text.unknown !== null && text.unknown === text.padding) {
    throw new InvalidInputError(
      `unknown is ${text.unknown}, which is the padding; allowed: another id, since padding ` +
        "inside a row has no meaning",
    );
  }
  const allowed = text.kind === "bytes" ? [] : NORMALIZERS;
  if (text.kind !== "tokenizer.json" && !text.normalizer.every((name) => allowed.includes(name))) {
    throw new InvalidInputError(
      `normalizer is ${text.normalizer.join(", ")}; allowed with ${text.kind}: ` +
        (allowed.join(", ") || "none"),
    );
  }
  if (text.length !== signature.max_length || text.padding !== signature.pad_id) {
    throw new InvalidInputError(
      `length and padding of text are (${text.length}, ${text.padding}); allowed: ` +
        `(${signature.max_length}, ${signature.pad_id}), the signature's`,
    );
  }
}
