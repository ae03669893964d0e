// A bundle of pe_deploy on onnxruntime, in Node and in the browser: verified when it is opened, every
// input checked, text in where it has a tokenizer.

import { Decision, checkDecision, outputShape } from "./decision.mjs";
import {
  BundleError,
  InvalidInputError,
  MissingDependencyError,
  ParityError,
  PeDeployError,
  PredictionError,
  kindOf,
  lineOf,
  shown,
} from "./errors.mjs";
import { MANIFEST, openFolder, sha256 } from "./folder.mjs";
import { readGolden, readGoldenTexts } from "./golden.mjs";
import { readManifest } from "./manifest.mjs";
import { checkExport } from "./onnx-file.mjs";
import { TOLERANCE, firstTextDifference, floorsOf, replay } from "./replay.mjs";
import { TEXT_FILES } from "./text-spec.mjs";
import { RowEncoder, openTokenizer, textsOf } from "./text.mjs";
import { toInputIds } from "./validation.mjs";

export {
  BundleError,
  InvalidInputError,
  MissingDependencyError,
  ParityError,
  PeDeployError,
  PredictionError,
};

const FORMS = { latency: "model.onnx", throughput: "model.throughput.onnx" };
const OPTIONS = [
  "truncation",
  "threshold",
  "selfTest",
  "tokenizers",
  "form",
  "sessionOptions",
  "fetch",
];
const ATTEMPTS = 10;
const TEXTS = "golden.texts.json";
// One thread: those of onnxruntime wait for each other at every step of a short sequence. Without the
// arena, the memory of the largest request is given back. What goes wrong arrives as an error, once.
const SESSION_OPTIONS = { intraOpNumThreads: 1, enableCpuMemArena: false, logSeverityLevel: 4 };
const QUIET = { logSeverityLevel: 4 };
const CHUNK_ROWS = 1024; // the most rows that an engine sees at once; parity tries as many
const CHUNK_IDS = 2 ** 15; // the most ids, which bounds its memory where rows are long

/**
 * Open a bundle: its manifest and what is run of it are checked against their digests.
 *
 * @param {string | URL} folderOrUrl in Node a path, or a file: or http(s): URL; in a browser an URL,
 *   relative to the page.
 * @param ort the module onnxruntime-node or onnxruntime-web.
 * @param {import("./pe-deploy.d.mts").Options} [options]
 * @returns {Promise<Classifier>}
 * @throws {BundleError} the bundle is incomplete or changed, or onnxruntime does not load its model.
 * @throws {ParityError} by its self-test, the model answers otherwise than was published.
 * @throws {InvalidInputError} an option is outside its range.
 * @throws {MissingDependencyError} the bundle's tokenizer needs a library that was not handed in.
 */
export async function open(folderOrUrl, ort, options = {}) {
  const engine = engineOf(ort);
  checkOptions(options);
  const folder = await openFolder(folderOrUrl, options.fetch);
  const { bundle, models, encoder } = await readParts(folder, options);
  const classifier = new Classifier(PRIVATE, bundle, models, engine, encoder, options);
  try {
    await classifier.start(PRIVATE);
    const problem = options.selfTest && (await classifier.selfTest()).problem;
    if (problem) throw new ParityError(problem);
  } catch (error) {
    await classifier.close();
    throw error;
  }
  return classifier;
}

/**
 * The manifest and what is run, all of one bundle: where another was published meanwhile, that one.
 */
async function readParts(folder, options) {
  for (let attempt = 1; ; attempt++) {
    const data = await folder.read(MANIFEST);
    if (data === null) {
      throw new BundleError(
        `${folder.path} holds no ${MANIFEST}: it is not a bundle, or is incomplete`,
      );
    }
    const manifest = await within(folder.path, () => readManifest(data));
    const bundle = new Bundle(folder, manifest);
    try {
      const reading = [encoderOf(bundle, options), bundle.models(options.form)];
      await Promise.allSettled(reading); // at once, and then the first error of both
      return { bundle, encoder: await reading[0], models: await reading[1] };
    } catch (error) {
      const isReplaced =
        error instanceof BundleError && String(await folder.read(MANIFEST)) !== String(data);
      if (!isReplaced || attempt === ATTEMPTS) throw error;
    }
  }
}

/** What only this module may hand over. */
const PRIVATE = Symbol("pe_deploy");

function engineOf(ort) {
  const found = ort?.InferenceSession ? ort : ort?.default; // as `import * as ort` gives CommonJS
  if (!found?.InferenceSession || !found?.Tensor) {
    throw new InvalidInputError(
      `ort is ${shown(ort)}; allowed: the module onnxruntime-node or onnxruntime-web`,
    );
  }
  return found;
}

function checkOptions(options) {
  if (typeof options !== "object" || options === null) {
    throw new InvalidInputError(`options is ${shown(options)}; allowed: an object`);
  }
  const unknown = Object.keys(options).find((name) => !OPTIONS.includes(name));
  if (unknown) {
    throw new InvalidInputError(`option ${shown(unknown)}; allowed: ${OPTIONS.join(", ")}`);
  }
  const { form, truncation, selfTest } = options;
  if (form !== undefined && !Object.hasOwn(FORMS, form)) {
    throw new InvalidInputError(
      `form is ${shown(form)}; allowed: ${Object.keys(FORMS).join(", ")}`,
    );
  }
  if (![undefined, "error", "start", "end"].includes(truncation)) {
    throw new InvalidInputError(`truncation is ${shown(truncation)}; allowed: start, end, error`);
  }
  if (![undefined, true, false].includes(selfTest)) {
    throw new InvalidInputError(`selfTest is ${shown(selfTest)}; allowed: true, false`);
  }
}

/** A folder whose files are read one by one, each as its manifest has it. */
class Bundle {
  constructor(folder, manifest) {
    this.folder = folder;
    this.path = folder.path;
    this.manifest = manifest;
  }

  /** Whether the manifest lists the file. */
  lists(name) {
    return Object.hasOwn(this.manifest.files, name);
  }

  /**
   * The graphs that a classifier may run, by their form.
   *
   * From a server only the one for few rows, unless the other is asked for: in WebAssembly it answers
   * many rows 1.1 to 1.3 times as fast, and would be as large a download again.
   */
  async models(form) {
    const first = form ?? "latency";
    const models = new Map([[first, await this.read(FORMS[first])]]);
    if (!form && this.folder.isNear && this.lists(FORMS.throughput)) {
      const data = await this.find(FORMS.throughput);
      if (data) models.set("throughput", data);
    }
    await within(this.path, () => {
      models.forEach((data, each) => checkExport(FORMS[each], data, this.manifest));
    });
    return models;
  }

  /** The checked bytes of a file; null where it is not there. */
  async find(name) {
    try {
      return await this.#checked(name);
    } catch (error) {
      if (this.folder.isNear || !(error instanceof BundleError)) throw error;
      return this.#checked(name, "reload"); // the browser may have kept another bundle's file
    }
  }

  async #checked(name, cache) {
    const record = this.manifest.files[name];
    const data = await this.folder.read(name, record.size, cache);
    if (data !== null && (await sha256(data)) !== record.sha256) {
      throw new BundleError(
        `${this.path}/${name} was changed after it was published: ` +
          `its SHA-256 is not the one in ${MANIFEST}`,
      );
    }
    return data;
  }

  /** The checked bytes of a file that has to be there. */
  async read(name) {
    if (!this.lists(name)) {
      const held = Object.keys(this.manifest.files).sort().join(", ");
      throw new BundleError(`${this.path} holds no ${name}; it holds ${held}`);
    }
    const data = await this.find(name);
    if (data === null) {
      throw new BundleError(`${this.path} lacks ${name}, which its ${MANIFEST} lists`);
    }
    return data;
  }
}

/** Turn what a reader throws into an error of the bundle, whose line begins with `where`. */
async function within(where, read) {
  try {
    return await read();
  } catch (error) {
    const isOurs = error instanceof SyntaxError || error instanceof PeDeployError;
    if (!isOurs || error instanceof MissingDependencyError) throw error;
    throw new BundleError(`${where}: ${error.message}`, { cause: error });
  }
}

async function encoderOf(bundle, { truncation, tokenizers }) {
  const { text, signature } = bundle.manifest;
  if (text === null) {
    if (truncation === undefined) return null;
    throw new InvalidInputError(
      `truncation is ${shown(truncation)}; allowed: undefined, as ${bundle.path} takes ids alone`,
    );
  }
  const file = TEXT_FILES[text.kind];
  const data = file && (await bundle.read(file));
  const cut = truncation ?? text.truncation;
  return within(`${bundle.path}/${file ?? MANIFEST}`, async () => {
    const isJson = text.kind === "tokenizer.json";
    const tokenizer = isJson
      ? (await import("./json-tokenizer.mjs")).openJsonTokenizer(text, data, tokenizers)
      : openTokenizer(text, data);
    return new RowEncoder(tokenizer, signature, cut === "error" ? null : cut);
  });
}

/** The last run of each engine: onnxruntime-web must not have two in flight, whatever the session. */
const LAST_RUNS = new WeakMap();

/** Run something when all that was asked of the engine before has ended, well or not. */
function inTurn(engine, work) {
  const before = LAST_RUNS.get(engine.InferenceSession) ?? Promise.resolve();
  const result = before.then(work);
  LAST_RUNS.set(
    engine.InferenceSession,
    result.catch(() => {}), // whoever asked is told
  );
  return result;
}

/** A bundle's model, ready to predict. */
class Classifier {
  #bundle;
  #models;
  #engine;
  #encoder;
  #options;
  #sessions = new Map();
  #asked = new Set();
  #isClosed = false;

  /** Only for `open`. */
  constructor(key, bundle, models, engine, encoder, options) {
    if (key !== PRIVATE) throw new TypeError("a classifier is made by open(folder, ort)");
    const { manifest } = bundle;
    const { labels, threshold, task } = manifest.decision;
    const decision = { labels, threshold: options.threshold ?? threshold, task };
    checkDecision(decision, manifest.signature);
    this.#bundle = bundle;
    this.#models = models;
    this.#engine = engine;
    this.#encoder = encoder;
    this.#options = options;
    this.manifest = manifest;
    this.signature = manifest.signature;
    this.decision = new Decision(decision);
  }

  /** Only for `open`: open the session that a small batch needs. */
  async start(key) {
    if (key !== PRIVATE) return;
    await this.#session(this.#formOf(1));
    if (this.manifest.text?.kind !== "tokenizer.json") return;
    const { problem } = await this.#replayedTexts(); // its library is another one than Python's
    if (problem) throw new ParityError(problem);
  }

  /** The label of each class; of a regression, the name of each number. */
  get labels() {
    return this.decision.labels;
  }

  /** The probability above which a label is the answer; null where none is asked for. */
  get threshold() {
    return this.decision.threshold;
  }

  /** Whether texts are taken where rows of ids are. */
  get takesText() {
    return this.#encoder !== null;
  }

  /** How many texts were cut so far, each time that one was. */
  get truncated() {
    return this.#encoder?.truncated ?? 0;
  }

  /** The ids that the model is given for some texts, padded on the right. */
  async encode(texts) {
    if (!this.#encoder) {
      throw new InvalidInputError("this model takes ids alone: it has no tokenizer");
    }
    const given = textsOf(texts);
    if (!given && texts?.length !== 0) {
      throw new InvalidInputError(`texts is ${shown(texts)}; allowed: a list of texts`);
    }
    const { data, dims } = this.#encoder.encode(given ?? []);
    return { data, dims };
  }

  /** The raw output of the model, every number of it finite. */
  async predictLogits(rows) {
    return this.#logits(this.#idsOf(rows));
  }

  /** The probability of each label; of tokens, for each of a row's tokens. */
  async predictProba(rows) {
    return this.#byRow(rows, (logits) => this.decision.probabilities(logits));
  }

  /** The answer for each row. */
  async predict(rows) {
    const isSingle = outputShape(this.signature, 1, 1).length === 1;
    return this.#byRow(rows, (logits) => this.decision.answer(logits, isSingle));
  }

  /** The label of each row, or of each token, and the probability of that label. */
  async predictWithProbability(rows) {
    const pairs = await this.#byRow(rows, (logits) => this.decision.withProbability(logits));
    const taken = (index) =>
      pairs.map((each) =>
        this.signature.task === "tokens" ? each.map((pair) => pair[index]) : each[index],
      );
    return { labels: taken(0), probabilities: taken(1) };
  }

  /** Replay the golden vectors, by each graph that may be run, and the golden texts. */
  async selfTest() {
    this.#checkOpen();
    const bundle = this.#bundle;
    const data = await bundle.read("golden.npz"); // whose errors name the bundle themselves
    const golden = await within(bundle.path, async () => readGolden(data, this.manifest));
    const floorAt = floorsOf(this.manifest.parity, golden);
    const decision = new Decision(this.manifest.decision); // the published threshold
    const cases = [];
    for (const form of this.#models.keys()) {
      const name = `${bundle.path}/${FORMS[form]}`;
      const predict = (ids) => this.#logits(toInputIds(ids, this.signature), form);
      for (const each of golden) {
        const floor = floorAt(each.inputIds.dims[1]);
        cases.push(await replay(predict, each, name, decision, floor));
      }
    }
    const texts = this.#encoder ? await this.#replayedTexts() : { texts: 0 };
    const problem = cases.find(({ passed }) => !passed)?.problem ?? texts.problem;
    return {
      passed: problem === undefined,
      vectors: golden.length,
      texts: texts.texts,
      largestDifference: Math.max(...cases.map(({ difference }) => difference)),
      tolerance: TOLERANCE,
      cases,
      ...(problem && { problem }),
      ...(texts.difference && { firstTextDifference: texts.difference }),
    };
  }

  /** How many golden texts there are, and what is wrong with the first that is. */
  async #replayedTexts() {
    const bundle = this.#bundle;
    const data = await bundle.read(TEXTS);
    const golden = await within(`${bundle.path}/${TEXTS}`, async () =>
      readGoldenTexts(data, this.signature),
    );
    // As the bundle states it, whatever this classifier does with long texts.
    const { truncation } = this.manifest.text;
    const encoder = new RowEncoder(this.#encoder.tokenizer, this.signature, truncation);
    const encode = (texts) => encoder.encode(texts);
    const difference = firstTextDifference(encode, golden, this.signature);
    if (!difference) return { texts: golden.length };
    const problem = `the tokenizer of ${bundle.path} is another than was published: ${difference}`;
    return { texts: golden.length, difference, problem };
  }

  /** Give the engine's memory back; what was asked before is still answered. */
  async close() {
    this.#isClosed = true;
    await Promise.allSettled(this.#asked);
    const sessions = Array.from(this.#sessions.values());
    this.#sessions.clear();
    this.#models = new Map();
    for (const opening of sessions) {
      const session = await opening.catch(() => null); // who asked for it was told
      if (session) await inTurn(this.#engine, () => session.release());
    }
  }

  // ---- inside ----

  #idsOf(given) {
    const texts = this.#encoder && textsOf(given);
    return texts ? this.#encoder.encode(texts) : toInputIds(given, this.signature);
  }

  async #byRow(rows, take) {
    const ids = this.#idsOf(rows);
    const { data } = await this.#logits(ids);
    const { task, num_classes: width, pad_id: padId } = this.signature;
    const [count, length] = ids.dims;
    const at = (index) => take(data.subarray(index * width, (index + 1) * width));
    if (!count) take(new Float32Array(width)); // what has no such answer says so
    if (task !== "tokens") return Array.from({ length: count }, (_, row) => at(row));
    return Array.from({ length: count }, (_, row) =>
      Array.from({ length: ids.count(row, padId) }, (_, column) => at(row * length + column)),
    );
  }

  #checkOpen() {
    if (this.#isClosed) {
      throw new PredictionError("this classifier was closed; open the bundle again");
    }
  }

  /** The logits of checked ids. */
  #logits(ids, form) {
    const answering = this.#answered(ids, form);
    this.#asked.add(answering);
    const forget = () => this.#asked.delete(answering);
    answering.then(forget, forget);
    return answering;
  }

  async #answered(ids, form) {
    this.#checkOpen();
    const [rows, length] = ids.dims;
    const dims = outputShape(this.signature, rows, length);
    const data = new Float32Array(dims.reduce((product, size) => product * size, 1));
    if (!rows) return { data, dims };
    const { chunk_rows: most } = this.manifest.dispatch;
    const largest = Math.max(1, Math.min(most, CHUNK_ROWS, Math.floor(CHUNK_IDS / length)));
    const chunks = Math.ceil(rows / largest);
    const used = form ?? this.#formOf(Math.ceil(rows / chunks));
    for (let chunk = 0; chunk < chunks; chunk++) {
      const start = Math.floor((rows * chunk) / chunks);
      const end = Math.floor((rows * (chunk + 1)) / chunks);
      data.set(await this.#answer(ids.slice(start, end), used), (data.length / rows) * start);
    }
    if (this.signature.task === "tokens") this.#zeroPadding(data, ids);
    this.#checkFinite(data, dims);
    return { data, dims };
  }

  async #answer(ids, form) {
    const [rows, length] = ids.dims;
    const what = `batch ${rows} × length ${length}`;
    let logits;
    try {
      const session = await this.#session(form);
      const input = new this.#engine.Tensor("int64", ids.data, ids.dims);
      ({ logits } = await inTurn(this.#engine, () => session.run({ input_ids: input }, QUIET)));
    } catch (error) {
      throw new PredictionError(
        `the engine fails on ${what}: ${kindOf(error)}: ${lineOf(error, 1000)}`,
        { cause: error },
      );
    }
    const wanted = outputShape(this.signature, rows, length);
    if (logits?.dims.join() !== wanted.join()) {
      throw new PredictionError(
        `the model answers ${what} with logits [${logits?.dims.join(", ")}] instead of ` +
          `[${wanted.join(", ")}]`,
      );
    }
    return logits.data;
  }

  #zeroPadding(data, ids) {
    const { pad_id: padId, num_classes: width } = this.signature;
    if (padId === null) return;
    for (let at = 0; at < ids.data.length; at++) {
      if (ids.low[2 * at] === padId) data.fill(0, at * width, (at + 1) * width);
    }
  }

  /** Refuse infinity and NaN, which would otherwise become some label. */
  #checkFinite(data, dims) {
    const at = data.findIndex((logit) => !Number.isFinite(logit));
    if (at < 0) return;
    const places = [];
    let rest = at;
    for (const size of dims.slice(1).reverse()) {
      places.unshift(rest % size);
      rest = Math.floor(rest / size);
    }
    const axes = this.signature.task === "tokens" ? ["column", "class"] : ["class"];
    const which = places.map((place, axis) => ` of ${axes[axis]} ${place}`).join("");
    throw new PredictionError(`the logit${which} is ${data[at]}; an answer needs finite numbers`, {
      row: rest,
    });
  }

  /** The graph that runs so many rows. */
  #formOf(rows) {
    const isMany = rows >= (this.manifest.dispatch.crossover ?? Infinity);
    const form = this.#options.form ?? (isMany ? "throughput" : "latency");
    return this.#models.has(form) ? form : "latency";
  }

  /** The session of a graph, opened by whoever asks first. */
  #session(form) {
    if (!this.#sessions.has(form)) this.#sessions.set(form, this.#opened(form));
    return this.#sessions.get(form);
  }

  async #opened(form) {
    const where = `${this.#bundle.path}/${FORMS[form]}`;
    const engine = this.#engine;
    const options = { ...SESSION_OPTIONS, ...this.#options.sessionOptions };
    let session;
    try {
      const model = this.#models.get(form);
      session = await inTurn(engine, () => engine.InferenceSession.create(model, options));
    } catch (error) {
      throw new BundleError(`${where}: onnxruntime does not load it: ${lineOf(error, 1000)}`, {
        cause: error,
      });
    }
    const [provider = "cpu"] = options.executionProviders ?? [];
    if (["cpu", "wasm"].includes(provider.name ?? provider)) {
      await checkGuards(engine, session, this.signature, where);
    }
    return session;
  }
}

/**
 * Try what a graph must refuse and does without harm, if wrongly, where it has no guards.
 *
 * So it shows a graph that was made elsewhere; an empty input would end this process there.
 */
async function checkGuards(engine, session, signature, where) {
  const { vocab_size: size, min_length: shortest, max_length: longest, pad_id: pad } = signature;
  const last = size - 1;
  const row = (length, first = last) => [first, ...Array(length - 1).fill(last)];
  const bad = [row(shortest, -1), row(shortest, size), row(longest + 1)];
  if (shortest > 1) bad.push(row(shortest - 1));
  if (pad !== null) bad.push(Array(shortest).fill(pad));
  for (const ids of bad) {
    const what = `batch 1 × length ${ids.length} that begins with id ${ids[0]}`;
    const input = new engine.Tensor("int64", BigInt64Array.from(ids, BigInt), [1, ids.length]);
    const refusal = await inTurn(engine, () => session.run({ input_ids: input }, QUIET)).then(
      () => null,
      (error) => lineOf(error, 1000),
    );
    if (refusal === null) {
      throw new BundleError(`${where} answers ${what}: it has no guards of pe_deploy`);
    }
    if (!refusal.includes("guard_")) {
      throw new BundleError(`${where} refuses ${what}, and not by a guard: ${refusal}`);
    }
  }
}
