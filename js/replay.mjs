// Replay a bundle's golden vectors: does this machine compute the model that was published?

import { InvalidInputError, PeDeployError, quoted, shown } from "./errors.mjs";

const MULTIPLE = 4;
const NEAR_ZERO = 1e-6;
const BATCH = 64;

/** What a difference of a logit is judged by, in words. */
export const TOLERANCE = `${MULTIPLE} × floor + ${NEAR_ZERO.toExponential().replace("-6", "-06")}`;

/**
 * How far float32 torch itself is from exact, by the length of the rows: what was measured when the
 * bundle was made, and what its golden vectors show.
 *
 * @returns {(length: number) => number} the floor at a length; the highest where none was measured
 *   near it.
 */
export function floorsOf(parity, golden) {
  const stated = Object.entries(parity.floors?.by_length ?? {});
  const errors = golden.map((each) => [each.inputIds.dims[1], roundingOf(each)]);
  const byLength = new Map();
  let least = 0;
  if (stated.length) {
    least = parity.floors.least;
    for (const [length, error] of [...stated, ...errors]) {
      const at = Number(length);
      byLength.set(at, Math.max(error, byLength.get(at) ?? 0));
    }
  } else {
    least = errors.reduce((most, [, error]) => Math.max(most, error), 0);
  }
  const longest = Math.max(0, ...byLength.keys());
  const highest = Math.max(least, ...byLength.values());
  const reach = Math.max(4, longest / 16);
  return (length) => {
    const near = Array.from(byLength).filter(([other]) => Math.abs(other - length) <= reach);
    return near.length ? Math.max(least, ...near.map(([, error]) => error)) : highest;
  };
}

/** The largest error that float32 torch makes itself. */
const roundingOf = ({ float32, float64 }) => largestDifference(float32.data, float64.data);

function largestDifference(given, exact) {
  let worst = 0;
  for (let at = 0; at < exact.length; at++) {
    const difference = Math.abs(given[at] - exact[at]);
    if (!(difference <= worst)) worst = difference; // not a number is the worst
  }
  return worst;
}

/**
 * Hold a model against a golden case.
 *
 * @param predict from ids `{data, dims}` to logits `{data, dims}`.
 * @param golden the case.
 * @param name what to call the model.
 * @param decision to hold its labels against those that were recorded.
 * @param floor that of the case's length.
 * @returns a case of the report.
 */
export async function replay(predict, golden, name, decision, floor) {
  const [rows, length] = golden.inputIds.dims;
  const shape = `batch ${rows} × length ${length}`;
  const allowed = MULTIPLE * floor + NEAR_ZERO;
  const report = { name: `${name}, ${shape}`, rows, length, difference: NaN, allowed };
  const failed = (problem) => ({ ...report, passed: false, problem });
  let logits;
  try {
    logits = await predict(golden.inputIds);
  } catch (error) {
    if (!(error instanceof PeDeployError)) throw error;
    return failed(`${name} fails on the golden vector of ${shape}: ${error.message}`);
  }
  report.difference = largestDifference(logits.data, golden.float64.data);
  if (!(report.difference <= allowed)) {
    return failed(
      `${name} computes something else than was published: worst difference ` +
        `${general(report.difference)} on the golden vector of ${shape}, ` +
        `floor ${general(floor)}, allowed ${general(allowed)}`,
    );
  }
  const problem = golden.labels && labelProblem(decision, logits, golden, name);
  return problem ? failed(problem) : { ...report, passed: true };
}

/** Two significant digits, as Python's `.2g` writes them. */
function general(value) {
  const [digits, exponent] = value.toExponential(1).split("e");
  const power = Number(exponent);
  if (!Number.isFinite(power) || (power >= -4 && power < 2))
    return String(Number(value.toPrecision(2)));
  const sign = power < 0 ? "-" : "+";
  return `${Number(digits)}e${sign}${String(Math.abs(power)).padStart(2, "0")}`;
}

/** Where the logits are within rounding of exact, a label may differ from that of exact ones. */
function labelProblem(decision, logits, golden, name) {
  const recorded = golden.labels.data;
  const [given, exact] = [logits.data, golden.float64.data].map((data) => {
    const count = countOf(decision, golden);
    const size = data.length / count;
    return Array.from({ length: count }, (_, at) =>
      decision.recorded(data.subarray(at * size, (at + 1) * size)),
    ).flat();
  });
  for (let at = 0; at < recorded.length; at++) {
    const wanted = comparable(recorded[at]);
    if (wanted === comparable(given[at]) || wanted === comparable(exact[at])) continue;
    const columns = golden.labels.dims[1];
    const where = columns ? `row ${Math.floor(at / columns)}, column ${at % columns}` : `row ${at}`;
    return (
      `${name} gives ${where} of the golden vectors the label ${label(given[at])}; ` +
      `published was ${label(recorded[at])}`
    );
  }
  return null;
}

/** How many answers a case has: one for each row, of tokens one for each id. */
const countOf = (decision, { inputIds, labels }) =>
  decision.task === "multilabel" ? inputIds.dims[0] : labels.data.length;

/** An integer as a bigint: golden vectors hold 64 bits. */
const comparable = (value) => (typeof value === "number" ? BigInt(value) : value);

const label = (value) => (typeof value === "string" ? quoted(value) : shown(value));

/**
 * What is encoded otherwise than it was recorded, in a line; null where nothing is.
 *
 * Texts that gave ids are encoded in batches, whose shorter rows are padded on the right; those that
 * were refused one by one.
 */
export function firstTextDifference(encode, golden, { pad_id: padId }) {
  const taken = golden.filter(({ ids }) => ids);
  const size = padId === null ? 1 : BATCH;
  for (let start = 0; start < taken.length; start += size) {
    const found = differenceIn(encode, taken.slice(start, start + size), padId);
    if (found) return found;
  }
  for (const { text } of golden.filter(({ ids }) => !ids)) {
    let given;
    try {
      given = encode([text]);
    } catch (error) {
      if (!(error instanceof InvalidInputError)) throw error;
      continue;
    }
    return `text ${shown(text)} gives ids ${few(given.data)}; it was refused`;
  }
  return null;
}

function differenceIn(encode, batch, padId) {
  let given;
  try {
    given = encode(batch.map(({ text }) => text));
  } catch (error) {
    if (!(error instanceof InvalidInputError)) throw error;
    return `text ${shown(batch[error.row ?? 0].text)} is refused: ${error.reason}`;
  }
  const longest = batch.reduce((most, { ids }) => Math.max(most, ids.length), 0);
  const length = given.dims[1];
  for (const [row, { text, ids }] of batch.entries()) {
    const found = Array.from(given.data.subarray(row * length, (row + 1) * length), Number);
    const wanted = Array.from({ length: longest }, (_, at) => ids[at] ?? padId);
    if (found.join() !== wanted.join()) {
      return `text ${shown(text)} gives ids ${few(found)}; recorded: ${few(ids)}`;
    }
  }
  return null;
}

const few = (ids) => `[${Array.from(ids.slice(0, 12)).join(", ")}${ids.length > 12 ? ", …" : ""}]`;
