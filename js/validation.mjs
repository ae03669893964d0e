// Check rows of ids before an engine sees them, and bring them into the one form that it takes.
//
// onnxruntime aborts the process on an empty batch or sequence, and reads negative ids as other
// tokens; so nothing that is not plainly right may pass.

import { InvalidInputError, kindOf, shown } from "./errors.mjs";

const ALLOWED = "allowed: integers [batch, sequence], as an array or nested lists";
const NO_TOKENIZER = "text is taken where there is a tokenizer, in a list of texts alone";
const DEEPEST = 64;

/** Ids that were checked: `data` of shape `dims`. */
export class InputIds {
  constructor(rows, length) {
    this.data = new BigInt64Array(rows * length);
    this.dims = [rows, length];
    // An id is below 2^31, so its upper half stays 0: that spares a bigint for each.
    this.low = new Int32Array(this.data.buffer);
  }

  /** Some of the rows. */
  slice(start, end) {
    const length = this.dims[1];
    return { data: this.data.subarray(start * length, end * length), dims: [end - start, length] };
  }

  /** How many ids of a row are no padding. */
  count(row, padId) {
    const length = this.dims[1];
    if (padId === null) return length;
    let count = 0;
    for (let at = row * length; at < (row + 1) * length; at++) count += this.low[2 * at] !== padId;
    return count;
  }
}

/**
 * Convert an input to int64 `[batch, sequence]` and check every id.
 *
 * @param {unknown} inputs rows of integers: arrays, typed arrays, or one tensor `{data, dims}`; where
 *   the signature has a `pad_id`, also rows of differing length, which are padded. Also an object
 *   with `input_ids`, as a tokenizer returns it; its `attention_mask` has to be of the tokens and not
 *   of the padding.
 * @returns {InputIds} a batch of no rows has the dims `[0, 0]`.
 * @throws {InvalidInputError}
 */
export function toInputIds(inputs, signature) {
  const { given, mask } = unwrapped(inputs);
  const ids = isTensor(given) ? ofTensor(given, signature) : ofRows(given, signature);
  if (!ids.dims[0]) return ids;
  if (signature.pad_id !== null) checkPadding(ids, signature);
  if (mask !== undefined) checkMask(mask, ids, signature.pad_id);
  return ids;
}

/** Whether it is a tensor: of onnxruntime, of transformers.js, or an object like one. */
export const isTensor = (value) =>
  typeof value === "object" &&
  value !== null &&
  !isList(value) &&
  isList(value.data ?? null) &&
  Array.isArray(value.dims);

/** Whether it is a list of values. */
export const isList = (value) =>
  Array.isArray(value) || (ArrayBuffer.isView(value) && !(value instanceof DataView));

function unwrapped(inputs) {
  if (isList(inputs) || isTensor(inputs)) return { given: inputs };
  if (typeof inputs === "string") {
    throw new InvalidInputError(`input_ids is ${shown(inputs)}; ${NO_TOKENIZER}; ${ALLOWED}`);
  }
  if (typeof inputs !== "object" || inputs === null) {
    throw new InvalidInputError(`input_ids is ${shown(inputs)}; ${ALLOWED}`);
  }
  const given = inputs.input_ids;
  if (isList(given) || isTensor(given)) return { given, mask: inputs.attention_mask };
  if (inputs instanceof Set) {
    throw new InvalidInputError(`input_ids is a Set, which has no order; ${ALLOWED}`);
  }
  if (Symbol.iterator in inputs) {
    throw new InvalidInputError(
      `input_ids is ${shown(inputs)}, which can be read once only; give Array.from(…) of it; ` +
        ALLOWED,
    );
  }
  const keys = Object.keys(inputs).slice(0, 20).map(shown).join(", ");
  throw new InvalidInputError(
    `input_ids is ${shown(inputs)} without 'input_ids'; its keys: ${keys}`,
  );
}

// ---- tensors ----

function ofTensor({ data, dims, type }, signature) {
  const dtype = type ?? dtypeOf(data);
  if (dims.length !== 2) throw noRows(dims.length);
  const [rows, columns] = dims;
  if (!dims.every(Number.isInteger) || data.length !== rows * columns) {
    throw new InvalidInputError(
      `input_ids has ${data.length} values and dims [${dims.join(", ")}]; ` +
        "allowed: as many values as the dims say",
    );
  }
  if (rows) checkColumns(columns, signature);
  if (!isIntegral(dtype)) {
    throw new InvalidInputError(`input_ids has dtype ${dtype}; allowed: an integer dtype`);
  }
  if (!rows) return new InputIds(0, 0);
  const ids = new InputIds(rows, columns);
  for (let row = 0; row < rows; row++) {
    const values = data.slice(row * columns, (row + 1) * columns);
    if (Array.isArray(values)) checkMembers(row, values);
    fill(ids, row, values, signature);
  }
  return ids;
}

const isIntegral = (dtype) => /^u?int\d+$/.test(dtype);

/** What a tensor calls the type of such data. */
function dtypeOf(data) {
  if (data instanceof Uint8Array) return "uint8"; // as Node's Buffer is
  if (data instanceof BigInt64Array) return "int64";
  if (data instanceof BigUint64Array) return "uint64";
  if (Array.isArray(data)) return data.every(isInteger) ? "int64" : typeof data.find(isNoInteger);
  return kindOf(data).replace("Clamped", "").replace("Array", "").toLowerCase();
}

const isNoInteger = (value) => !isInteger(value);

// ---- rows ----

function ofRows(given, signature) {
  const rows = Array.from(given); // a hole in a list is undefined
  if (!rows.length) return new InputIds(0, 0);
  const shape = shapeOf(rows);
  if (!shape) return padded(rows, signature);
  if (shape.length !== 2) {
    if (hasOther(rows)) return padded(rows, signature);
    throw noRows(shape.length);
  }
  if (shape[1] && !areOneInteger(rows)) return padded(rows, signature);
  checkColumns(shape[1], signature);
  const ids = new InputIds(...shape);
  for (let row = 0; row < shape[0]; row++) fill(ids, row, rows[row], signature);
  return ids;
}

const noRows = (dimensions) =>
  new InvalidInputError(`input_ids has ${dimensions} dimensions; allowed: 2, [batch, sequence]`);

/** The shape of nested lists, as numpy has it; null where lists on one level differ. */
function shapeOf(value, depth = 0) {
  if (!isList(value)) return [];
  if (depth === DEEPEST) return null;
  if (!Array.isArray(value) || !value.some(isList)) return [value.length];
  const first = shapeOf(value[0], depth + 1);
  for (const one of value) {
    const shape = first && shapeOf(one, depth + 1);
    if (!shape || shape.length !== first.length || shape.some((n, i) => n !== first[i]))
      return null;
  }
  return [value.length, ...first];
}

/** Rows of whatever length: each is checked by itself, then all of them are joined. */
function padded(rows, signature) {
  try {
    rows.forEach((row, number) => checkRow(number, row, signature));
  } catch (error) {
    checkPresent(rows); // in whatever row: one that is missing is to blame first
    throw error;
  }
  checkLengths(rows, signature);
  const longest = rows.reduce((most, row) => Math.max(most, row.length), 0);
  const ids = new InputIds(rows.length, longest);
  rows.forEach((row, number) => {
    fill(ids, number, row, signature);
    const end = 2 * (number + 1) * longest;
    for (let at = 2 * (number * longest + row.length); at < end; at += 2) {
      ids.low[at] = signature.pad_id;
    }
  });
  return ids;
}

function checkRow(number, row, signature) {
  if (shapeOf(row)?.length !== 1) {
    if (typeof row === "string") {
      throw new InvalidInputError(`is ${shown(row)}; ${NO_TOKENIZER}`, { row: number });
    }
    const what = isList(row) ? "" : `${shown(row)}, `;
    throw new InvalidInputError(`is ${what}not a list of ids`, { row: number });
  }
  checkMembers(number, row);
  if (!areOneInteger([row])) checkRange(number, row, signature.vocab_size);
}

function checkMembers(number, row) {
  if (!Array.isArray(row) && !isIntegral(dtypeOf(row))) {
    throw new InvalidInputError(`has dtype ${dtypeOf(row)}; allowed: an integer dtype`, {
      row: number,
    });
  }
  checkPresent([row], number);
  for (let column = 0; column < row.length; column++) {
    if (!isInteger(row[column])) {
      throw noInteger(row[column], column, number);
    }
  }
}

/** Refuse the first value that is missing, in whatever row. */
function checkPresent(rows, firstRow = 0) {
  rows.forEach((row, number) => {
    if (!isList(row)) return;
    const column = Array.prototype.findIndex.call(row, isMissing);
    if (column >= 0) throw noInteger(row[column], column, firstRow + number);
  });
}

const noInteger = (value, column, row) =>
  new InvalidInputError(`column ${column} has ${shown(value)}; allowed: integers`, { row });

const isMissing = (value) => value === null || value === undefined || value !== value;

/** Whether a value in nested lists is no number, or an integer that 64 bits do not hold. */
function hasOther(value) {
  if (isList(value)) return Array.from(value).some(hasOther);
  if (typeof value === "boolean") return false;
  return isInteger(value) ? value < -(2 ** 63) || value >= 2 ** 64 : typeof value !== "number";
}

const isInteger = (value) => Number.isInteger(value) || typeof value === "bigint";

/** Whether all values are integers of one type, int64 or uint64, as numpy finds it. */
function areOneInteger(rows) {
  let isSmall = true;
  let isLarge = true;
  for (const row of rows) {
    if (row instanceof Float32Array || row instanceof Float64Array) return false;
    for (const value of row) {
      if (!isInteger(value)) return false;
      if (value < 2 ** 63) isLarge = false;
      if (value < -(2 ** 63) || value >= 2 ** 63) isSmall = false;
      if (value >= 2 ** 64) isLarge = false;
    }
  }
  return isSmall || isLarge;
}

function checkLengths(rows, signature) {
  const { min_length: shortest, max_length: longest, pad_id } = signature;
  rows.forEach(({ length }, row) => {
    if (length < shortest || length > longest) {
      throw new InvalidInputError(`has ${length} ids; allowed: ${shortest} to ${longest}`, { row });
    }
  });
  if (pad_id !== null) return;
  const first = rows[0].length;
  const row = rows.findIndex(({ length }) => length !== first);
  if (row >= 0) {
    throw new InvalidInputError(
      `has ${rows[row].length} ids where row 0 has ${first}; ` +
        "rows of differing length need a model with a pad_id",
      { row },
    );
  }
}

function checkColumns(columns, { min_length: shortest, max_length: longest }) {
  if (columns < shortest || columns > longest) {
    throw new InvalidInputError(
      `input_ids has ${columns} columns; allowed: ${shortest} to ${longest}`,
    );
  }
}

function checkRange(number, row, vocabSize) {
  for (let column = 0; column < row.length; column++) {
    const id = row[column];
    if (!(id >= 0 && id < vocabSize)) {
      throw new InvalidInputError(
        `column ${column} has id ${shown(id)}; allowed: 0 to ${vocabSize - 1}`,
        { row: number },
      );
    }
  }
}

/** Put the ids of a row in their place. */
function fill(ids, number, row, signature) {
  checkRange(number, row, signature.vocab_size);
  let at = 2 * number * ids.dims[1];
  for (const id of row) {
    ids.low[at] = Number(id);
    at += 2;
  }
}

function checkPadding(ids, signature) {
  const { pad_id, min_length: shortest, max_length: longest } = signature;
  const [rows, length] = ids.dims;
  const counts = new Int32Array(rows);
  for (let row = 0; row < rows; row++) {
    const start = row * length;
    let first = 0;
    while (first < length && ids.low[2 * (start + first)] !== pad_id) first++;
    if (first === 0 && !ids.count(row, pad_id)) {
      throw new InvalidInputError(`every id is pad_id ${pad_id}; allowed: at least one token`, {
        row,
      });
    }
    for (let column = first; column < length; column++) {
      if (ids.low[2 * (start + column)] !== pad_id) {
        throw new InvalidInputError(
          `column ${first} has pad_id ${pad_id} before the row's last token; ` +
            "allowed: padding on the right only",
          { row },
        );
      }
    }
    counts[row] = first;
  }
  const row = shortest > 1 ? counts.findIndex((count) => count < shortest) : -1;
  if (row >= 0) {
    throw new InvalidInputError(`has ${counts[row]} ids; allowed: ${shortest} to ${longest}`, {
      row,
    });
  }
}

/** Check that an attention mask has 1 for each token and 0 for padding, as the model sees it. */
function checkMask(mask, ids, padId) {
  const [rows, length] = ids.dims;
  const at = isTensor(mask)
    ? (row, column) => mask.data[row * length + column]
    : (row, column) => mask[row][column] ?? 0; // a shorter row goes on with padding
  const fits = isTensor(mask)
    ? mask.dims.join() === ids.dims.join() && mask.data.length === rows * length
    : isList(mask) &&
      mask.length === rows &&
      Array.from(mask).every((row) => isList(row) && row.length <= length);
  if (!fits) {
    const shape = isTensor(mask) ? mask.dims : isList(mask) && shapeOf(mask);
    const found = shape ? `of shape [${shape.join(", ")}]` : "not readable";
    throw new InvalidInputError(
      `attention_mask is ${found}; allowed: [${ids.dims.join(", ")}], as input_ids`,
    );
  }
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < length; column++) {
      const id = ids.low[2 * (row * length + column)];
      const value = at(row, column);
      if (typeof value === "symbol" || Number(value) !== Number(id !== padId)) {
        const what = id === padId ? `the padding ${padId}` : `the token ${id}`;
        throw new InvalidInputError(
          `column ${column} of attention_mask is ${shown(value)} over ${what}; ` +
            "allowed: 1 over tokens, 0 over padding, which is all that the model masks",
          { row },
        );
      }
    }
  }
}
