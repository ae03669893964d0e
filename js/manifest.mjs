// `manifest.json`: what a bundle is, and the size and digest of every other file in it.

import { checkDecision } from "./decision.mjs";
import { BundleError, InvalidInputError, lineOf, shown } from "./errors.mjs";
import { MANIFEST, largest, sha256 } from "./folder.mjs";
import { isObject, isSame, parseJson } from "./strict-json.mjs";
import { checkText } from "./text-spec.mjs";

const FORMAT = "pe_deploy.bundle";
const FORMAT_VERSION = 4;
const TASKS = ["classes", "multilabel", "regression", "tokens"];
const LARGEST_SIZE = 2 ** 31 - 1;
const OWN_DIGEST = "manifest_sha256";
const ZEROS = "0".repeat(64);
const LAST_LINES = new RegExp(`  "${OWN_DIGEST}": "([0-9a-f]{64})"\\n}\\n$`);
const LAST_SIZE = `  "${OWN_DIGEST}": "${ZEROS}"\n}\n`.length;

/**
 * Read `manifest.json`.
 *
 * @param {Uint8Array} data
 * @throws {BundleError} it is over 1 MiB, no JSON, of another or a newer format, changed since it was
 *   published, or lacks or misstates a field.
 */
export async function readManifest(data) {
  if (data.length > largest(MANIFEST)) {
    throw new BundleError(
      `${MANIFEST} has ${data.length} bytes; allowed: ${largest(MANIFEST)} or fewer`,
    );
  }
  let values;
  try {
    values = parseJson(data);
  } catch (error) {
    throw noManifest(`it is not JSON: ${lineOf(error)}`);
  }
  if (!isObject(values) || values.format !== FORMAT) {
    throw noManifest(`it is not of the format ${FORMAT}`);
  }
  const version = values.format_version;
  const isWhole = Number.isInteger(version) || typeof version === "bigint";
  if (!isWhole || version < 1) {
    throw noManifest(`its format_version is ${lineOf(written(version))}`);
  }
  if (version > FORMAT_VERSION) {
    throw new BundleError(
      `${MANIFEST} has format_version ${version}; this pe_deploy reads ${FORMAT_VERSION}, ` +
        "the bundle needs a newer one",
    );
  }
  if (!(await ownDigestHolds(data))) {
    throw new BundleError(
      `${MANIFEST} was changed after it was published: its SHA-256 is not the ${OWN_DIGEST} ` +
        "at its end",
    );
  }
  try {
    return checked(values);
  } catch (error) {
    if (!(error instanceof InvalidInputError)) throw error;
    throw new BundleError(`${MANIFEST} is malformed: ${error.message}`);
  }
}

const noManifest = (why) =>
  new BundleError(`${MANIFEST} was changed after it was published, or never was one: ${why}`);

/** The last field holds the digest of the document, taken while its own digits are zeros. */
async function ownDigestHolds(data) {
  const start = Math.max(0, data.length - LAST_SIZE);
  const found = LAST_LINES.exec(String.fromCharCode(...data.subarray(start)));
  if (!found || found.index !== 0) return false;
  const zeroed = data.slice();
  const digits = data.length - '"\n}\n'.length - ZEROS.length;
  zeroed.fill(0x30, digits, digits + ZEROS.length);
  return (await sha256(zeroed)) === found[1];
}

/** The manifest with a whole signature and decision, once each field is of its type throughout. */
function checked(values) {
  for (const [name, allowed] of Object.entries(FIELDS)) {
    if (!Object.hasOwn(values, name)) throw new InvalidInputError(`${name} is missing`);
    if (!allowed(values[name])) throw new InvalidInputError(`${name} is ${written(values[name])}`);
  }
  if ("compact" in values && !isCompact(values.compact)) {
    throw new InvalidInputError(`compact is ${written(values.compact)}`);
  }
  for (const [name, record] of Object.entries(values.files)) {
    if (!mayBeListed(name)) {
      throw new InvalidInputError(
        `files lists ${shown(name)}; allowed: a plain name in the folder`,
      );
    }
    if (!isRecord(record)) {
      throw new InvalidInputError(`the record of ${name} is ${written(record)}`);
    }
  }
  const signature = readSignature(values.signature);
  const { labels, threshold, text = null, compact = null } = values;
  const decision = { labels, threshold, task: signature.task };
  checkDecision(decision, signature);
  if (text !== null) checkText(text, signature);
  return deepFrozen({ ...values, text, compact, signature, decision });
}

function readSignature(values) {
  const { inputs, outputs, ...stated } = values;
  const signature = { pad_id: null, min_length: 1, task: "classes", num_classes: 1, ...stated };
  const known = ["vocab_size", "max_length", "num_classes", "pad_id", "min_length", "task"];
  const unknown = Object.keys(signature).filter((name) => !known.includes(name));
  if (unknown.length || known.some((name) => signature[name] === undefined)) {
    throw new InvalidInputError(`signature is ${written(values)}`);
  }
  for (const name of ["vocab_size", "max_length", "num_classes"]) {
    checkWhole(name, signature[name], 1, LARGEST_SIZE);
  }
  checkWhole("min_length", signature.min_length, 1, signature.max_length);
  if (signature.pad_id !== null) {
    checkWhole("pad_id", signature.pad_id, 0, signature.vocab_size - 1);
    checkWhole("vocab_size", signature.vocab_size, 2, LARGEST_SIZE);
  }
  if (!TASKS.includes(signature.task)) {
    throw new InvalidInputError(`task is ${shown(signature.task)}; allowed: ${TASKS.join(", ")}`);
  }
  const rows = signature.task === "tokens" ? ["batch", "sequence"] : ["batch"];
  const one = signature.num_classes === 1 && signature.task !== "multilabel";
  const tensors = {
    inputs: { input_ids: { dtype: "int64", axes: ["batch", "sequence"] } },
    outputs: { logits: { dtype: "float32", axes: one ? rows : [...rows, signature.num_classes] } },
  };
  if (!isSame({ inputs, outputs }, tensors)) {
    throw new InvalidInputError(
      `inputs and outputs are ${written({ inputs, outputs })}, which is not its signature`,
    );
  }
  return signature;
}

export function checkWhole(name, value, lowest, highest) {
  if (!(Number.isInteger(value) && lowest <= value && value <= highest)) {
    throw new InvalidInputError(
      `${name} is ${shown(value)}; allowed: a whole number, ${lowest} to ${highest}`,
    );
  }
}

/** Whether a manifest may list this name: a plain file of the folder, on every system. */
function mayBeListed(name) {
  const own = [MANIFEST, "model.sig"].includes(name.toLowerCase());
  return /^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$/.test(name) && !name.endsWith(".") && !own;
}

const isCount = (value) => Number.isInteger(value) && value >= 0;
const isNumber = (value) => typeof value === "number" && value >= 0;
const isText = (value) => typeof value === "string";
const isSha256 = (value) => isText(value) && /^[0-9a-f]{64}$/.test(value);
const each = (allowed) => (value) => isObject(value) && Object.values(value).every(allowed);
const just = (fields) => (value) =>
  isObject(value) &&
  isSame(Object.keys(value).sort(), Object.keys(fields).sort()) &&
  Object.entries(fields).every(([name, allowed]) => allowed(value[name]));
const isRecord = just({ size: isCount, sha256: isSha256 });
const isCompact = just({
  dtype: (value) => ["float16", "int8"].includes(value),
  trained_sha256: isSha256,
  allow_flips: (value) => value === null || (isNumber(value) && value <= 1),
});
const isByLength = (value) =>
  each(isNumber)(value) && Object.keys(value).every((key) => /^\d+$/.test(key));

const PARITY = {
  passed: (value) => typeof value === "boolean",
  cells: isCount,
  worst_difference: isNumber,
  floor: isNumber,
  floors: just({ by_length: isByLength, least: isNumber }),
  tolerance: isText,
};

const FIELDS = {
  signature: isObject,
  labels: Array.isArray,
  threshold: (value) => value === null || typeof value === "number",
  weights_sha256: isSha256,
  model: (value) => value === null || isObject(value),
  versions: each((value) => isText(value) || Number.isInteger(value)),
  operators: each(isCount),
  dispatch: just({
    crossover: (value) => value === null || (isCount(value) && value >= 1),
    chunk_rows: (value) => isCount(value) && value >= 1,
    share_rows: (value) => isCount(value) && value >= 1,
    own_threads: (value) => typeof value === "boolean",
  }),
  parity: (value) =>
    isObject(value) &&
    Object.entries(PARITY).every(([name, allowed]) => !(name in value) || allowed(value[name])),
  files: isObject,
};

const written = (value) => (JSON.stringify(value, plain) ?? "missing").slice(0, 200);
const plain = (_, value) => (typeof value === "bigint" ? String(value) : value);

function deepFrozen(value) {
  if (typeof value !== "object" || value === null) return value;
  Object.values(value).forEach(deepFrozen);
  return Object.freeze(value);
}
