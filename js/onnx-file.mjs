// Whose export a graph is: the config that its metadata repeats, which onnxruntime does not show.
//
// Only the outermost fields are read, by https://protobuf.dev/programming-guides/encoding.

import { decoded, isSame, parseJson } from "./strict-json.mjs";

const CONFIG_KEY = "pe_deploy.json";
const METADATA = 14; // metadata_props of ModelProto
const KEY = 1;
const VALUE = 2;
const WIRE_BYTES = 2;
const OF_FIXED_SIZE = { 1: 8, 5: 4 };

/**
 * Check that a graph is of the export that its manifest describes.
 *
 * @param {string} name of the file.
 * @param {Uint8Array} data
 * @throws {SyntaxError} it is malformed, or of another export.
 */
export function checkExport(name, data, manifest) {
  const config = configIn(name, data);
  const { labels, threshold, model, weights_sha256: weights, text } = manifest;
  const signature = statedOf(manifest.signature);
  const expected = { signature, labels, threshold, model, weights_sha256: weights };
  if (text !== null) expected.text = text;
  if (isSame(config, expected)) return;
  const keys = Object.keys(expected);
  if (
    typeof config !== "object" ||
    Object.keys(config ?? {})
      .sort()
      .join() !== keys.sort().join()
  ) {
    throw new SyntaxError(`${name}: ${CONFIG_KEY} does not hold just ${keys.join(", ")}`);
  }
  if (config.weights_sha256 !== weights) {
    throw new SyntaxError(
      `${name} is of another export: its weights_sha256 is ` +
        `${String(config.weights_sha256).slice(0, 64)}, in manifest.json ${weights}`,
    );
  }
  const other = keys.find((key) => !isSame(config[key], expected[key]));
  throw new SyntaxError(
    `${name} is of another export: its ${other} is not the one in manifest.json`,
  );
}

/** A signature as it is written: what came later, only where it says something. */
function statedOf({ min_length: shortest, task, ...stated }) {
  if (shortest !== 1) stated.min_length = shortest;
  if (task !== "classes") stated.task = task;
  return stated;
}

function configIn(name, data) {
  for (const entry of fieldsOf(name, data, METADATA)) {
    const [key] = fieldsOf(name, entry, KEY);
    if (!key || decoded(key) !== CONFIG_KEY) continue;
    const [value = new Uint8Array()] = fieldsOf(name, entry, VALUE);
    return parseJson(value);
  }
  throw new SyntaxError(
    `${name} does not say which export it is of: its metadata lacks ${CONFIG_KEY}`,
  );
}

/** The bytes of each field of a message that has this number. */
function* fieldsOf(name, data, wanted) {
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let shift = 0; shift < 70 && at < data.length; shift += 7) {
      const byte = data[at++];
      value += (byte & 127) * 2 ** shift;
      if (byte < 128) return value;
    }
    throw new SyntaxError(`${name} is malformed: no whole number ends at byte ${at}`);
  };
  while (at < data.length) {
    const tag = varint();
    const wire = tag % 8;
    if (wire === 0) {
      varint();
      continue;
    }
    const size = wire === WIRE_BYTES ? varint() : OF_FIXED_SIZE[wire];
    if (size === undefined || at + size > data.length) {
      throw new SyntaxError(`${name} is malformed: a field at byte ${at} leaves its message`);
    }
    if (wire === WIRE_BYTES && Math.floor(tag / 8) === wanted) yield data.subarray(at, at + size);
    at += size;
  }
}
