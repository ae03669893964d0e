// `golden.npz` and `golden.texts.json`: inputs and what was published for them, read strictly.

import { outputShape } from "./decision.mjs";
import { lineOf, quoted } from "./errors.mjs";
import { hex } from "./folder.mjs";
import { parseJson } from "./strict-json.mjs";

const GOLDEN = "golden.npz";
const LARGEST = 2 ** 30;
const MOST_MEMBERS = 10_000;
const ENCRYPTED = 1;
const STORED = 0;
const DEFLATED = 8;
const HEADER =
  /^\{'descr': '(<i8|<i4|<f8|<f4|\|u1|<U[1-9]\d{0,6})', 'fortran_order': False, 'shape': \(([\d, ]{1,200})\), \} *\n$/;
const TYPES = {
  "<i8": BigInt64Array,
  "<i4": Int32Array,
  "<f8": Float64Array,
  "<f4": Float32Array,
  "|u1": Uint8Array,
};

/**
 * Read `golden.npz`.
 *
 * @param {Uint8Array} data
 * @returns {Promise<{inputIds, float64, float32, labels}[]>} the cases: each an array `{data, dims}`;
 *   `labels` null where none were recorded.
 * @throws {SyntaxError} it is no plain archive, of other weights, or holds anything but arrays that
 *   are of a model with this signature.
 */
export async function readGolden(data, { signature, weights_sha256: weights }) {
  const arrays = new Map();
  for (const [name, content] of await membersOf(data)) {
    arrays.set(name.replace(/\.npy$/, ""), arrayOf(name, content));
  }
  const digest = arrays.get("weights_sha256");
  arrays.delete("weights_sha256");
  if (!(digest?.data instanceof Uint8Array) || digest.data.length !== 32) {
    throw new SyntaxError(`${GOLDEN} does not say of which weights it is`);
  }
  if (hex(digest.data) !== weights) {
    throw new SyntaxError(
      `${GOLDEN} is of another export: its weights_sha256 is ${hex(digest.data)}, ` +
        `in manifest.json ${weights}`,
    );
  }
  const cases = [];
  for (;;) {
    const index = String(cases.length).padStart(3, "0");
    if (!arrays.has(`${index}.input_ids`)) break;
    const take = (name) => {
      const array = arrays.get(`${index}.${name}`) ?? null;
      arrays.delete(`${index}.${name}`);
      return array;
    };
    const found = {
      inputIds: take("input_ids"),
      float64: take("float64"),
      float32: take("float32"),
      labels: take("labels"),
    };
    take("targets"); // the truth, which is not replayed
    checkCase(cases.length, found, signature);
    cases.push(found);
  }
  if (!cases.length || arrays.size) {
    const others = Array.from(arrays.keys()).slice(0, 5).map(quoted).join(", ") || "nothing";
    throw new SyntaxError(
      `${GOLDEN} holds ${cases.length} cases and ${others} beside them; ` +
        "allowed: 1 case or more, and nothing beside",
    );
  }
  return cases;
}

function checkCase(index, found, signature) {
  const [rows, length] = found.inputIds.dims;
  const logits = outputShape(signature, rows, length);
  const isExclusive = signature.task === "classes" || signature.task === "tokens";
  const answers = isExclusive ? logits.slice(0, signature.task === "tokens" ? 2 : 1) : logits;
  const wanted = {
    inputIds: [BigInt64Array, [rows, length]],
    float64: [Float64Array, logits],
    float32: [Float32Array, logits],
    labels: [null, signature.task === "regression" ? null : answers],
  };
  for (const [name, [type, dims]] of Object.entries(wanted)) {
    const array = found[name];
    if (array === null && type === null) continue;
    const isRight =
      array &&
      dims &&
      (type === null || array.data instanceof type) &&
      array.data.length &&
      array.dims.join() === dims.join();
    if (!isRight) throw new SyntaxError(`${GOLDEN}: ${name} of case ${index} is malformed`);
  }
  const isOutside = (id) => id < 0 || id >= signature.vocab_size;
  if (![...found.float64.data, ...found.float32.data].every(Number.isFinite)) {
    throw new SyntaxError(`${GOLDEN}: logits of case ${index} are not finite`);
  }
  if (found.inputIds.data.some(isOutside) || length > signature.max_length) {
    throw new SyntaxError(`${GOLDEN}: input_ids of case ${index} are not of this model`);
  }
}

/** The members of a plain zip archive: from the first byte on, then their list, then the end. */
async function membersOf(data) {
  const view = new DataView(data.buffer, data.byteOffset, data.length);
  const end = data.length - 22;
  const odd = new SyntaxError(`${GOLDEN} is not a plain zip archive`);
  if (end < 0 || view.getUint32(0, true) !== 0x04034b50) throw odd;
  const count = view.getUint16(end + 10, true);
  const start = view.getUint32(end + 16, true);
  const isPlain =
    view.getUint32(end, true) === 0x06054b50 &&
    view.getUint32(end + 4, true) === 0 && // a single disk
    view.getUint16(end + 8, true) === count &&
    count <= MOST_MEMBERS &&
    start + view.getUint32(end + 12, true) === end &&
    view.getUint16(end + 20, true) === 0; // no comment
  if (!isPlain) throw odd;
  const members = new Map();
  let at = start;
  let total = 0;
  for (let number = 0; number < count; number++) {
    if (at + 46 > end || view.getUint32(at, true) !== 0x02014b50) throw odd;
    const flags = view.getUint16(at + 8, true);
    const method = view.getUint16(at + 10, true);
    const packed = view.getUint32(at + 20, true);
    const size = view.getUint32(at + 24, true);
    const after = at + 46 + view.getUint16(at + 28, true);
    const local = view.getUint32(at + 42, true);
    const name = String.fromCharCode(...data.subarray(at + 46, after));
    total += size;
    if (flags & ENCRYPTED || ![STORED, DEFLATED].includes(method) || members.has(name)) throw odd;
    if (total > LARGEST) throw new SyntaxError(`${GOLDEN} holds over ${LARGEST} bytes`);
    if (local + 30 > start || view.getUint32(local, true) !== 0x04034b50) throw odd;
    const begin = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
    if (begin + packed > start) throw odd;
    // Not by its CRC: the digest of the whole file vouches for each byte.
    members.set(name, await unpacked(name, data.subarray(begin, begin + packed), method, size));
    at = after + view.getUint16(at + 30, true) + view.getUint16(at + 32, true);
  }
  if (at !== end) throw odd;
  return members;
}

/** The content of a member, as many bytes as the archive states and no more. */
async function unpacked(name, packed, method, size) {
  const content = new Uint8Array(size);
  let at = 0;
  const add = (part) => {
    if (at + part.length <= size) content.set(part, at);
    at += part.length;
  };
  if (method === STORED) add(packed);
  else {
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
    const reader = stream.getReader();
    try {
      while (at <= size) {
        const { done, value } = await reader.read();
        if (done) break;
        add(value);
      }
      if (at > size) await reader.cancel();
    } catch (error) {
      throw new SyntaxError(`${GOLDEN}: ${quoted(name)}: ${lineOf(error)}`);
    }
  }
  if (at !== size) {
    throw new SyntaxError(
      `${GOLDEN}: ${quoted(name)} has another size than the ${size} bytes that the archive states`,
    );
  }
  return content;
}

/** An array whose header states just what follows it. */
function arrayOf(name, content) {
  const malformed = new SyntaxError(
    `${GOLDEN}: ${quoted(name)} is malformed; allowed: an array of numbers or text`,
  );
  const view = new DataView(content.buffer);
  const magic = "\x93NUMPY\x01\x00";
  if (content.length < 10 || String.fromCharCode(...content.subarray(0, 8)) !== magic) {
    throw malformed;
  }
  const begin = 10 + view.getUint16(8, true);
  const header = HEADER.exec(String.fromCharCode(...content.subarray(10, begin)));
  if (!header) throw malformed;
  const dims = header[2]
    .split(",")
    .filter((size) => size.trim())
    .map(Number);
  const count = dims.reduce((product, size) => product * size, 1);
  const characters = header[1].startsWith("<U") ? Number(header[1].slice(2)) : 0;
  const type = characters ? Uint32Array : TYPES[header[1]];
  const width = type.BYTES_PER_ELEMENT * (characters || 1);
  if (count * width !== content.length - begin) throw malformed;
  const data = new type(content.slice(begin).buffer);
  if (!characters) return { data, dims };
  if (data.some((code) => code > 0x10ffff)) throw malformed;
  const texts = Array.from({ length: count }, (_, index) =>
    String.fromCodePoint(...data.subarray(index * characters, (index + 1) * characters)).replace(
      /\0+$/,
      "",
    ),
  );
  return { data: texts, dims };
}

/**
 * Read `golden.texts.json`.
 *
 * @returns {{text: string, ids: number[] | null}[]} null where the text is refused.
 * @throws {SyntaxError} it is no JSON of texts, each with its ids or null, or the ids are not of rows
 *   that the model takes.
 */
export function readGoldenTexts(data, signature) {
  const texts = parseJson(data)?.texts;
  if (!Array.isArray(texts)) throw new SyntaxError("it holds no list of texts");
  const golden = texts.map((each, number) => {
    if (!Array.isArray(each) || each.length !== 2 || typeof each[0] !== "string") {
      throw new SyntaxError(`entry ${number} is no text with its ids`);
    }
    const [text, ids] = each;
    if (ids !== null && !areIds(ids, signature)) {
      throw new SyntaxError(`the ids of entry ${number} are not a row that the model takes`);
    }
    return { text, ids };
  });
  if (golden.every(({ ids }) => ids === null)) throw new SyntaxError("no text in it has ids");
  return golden;
}

const areIds = (ids, { min_length: shortest, max_length: longest, vocab_size: size }) =>
  Array.isArray(ids) &&
  shortest <= ids.length &&
  ids.length <= longest &&
  ids.every((id) => Number.isInteger(id) && id >= 0 && id < size);
