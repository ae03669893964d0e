// What the module answers to many requests, in any JavaScript binding of onnxruntime.

/**
 * @param open the module's.
 * @param ort the binding, as its package exports it.
 * @param tokenizers the module @huggingface/tokenizers.
 * @param jobs [{bundle, options, together, asks: [[method, ...arguments]]}]. A method `report` is
 *   `selfTest`; any other value of the classifier is read by its name.
 * @returns for each job {error}, or {answers}: of each request {value} or {error}, in order.
 */
export async function answerAll(open, ort, tokenizers, jobs) {
  const all = [];
  for (const { bundle, options, together, asks } of jobs) {
    try {
      const classifier = await open(bundle, ort, { tokenizers, ...options });
      const ask = (request) => answer(classifier, request);
      const answers = together ? await Promise.all(asks.map(ask)) : await inTurn(asks, ask);
      await classifier.close();
      all.push({ answers });
    } catch (error) {
      all.push({ error: plainError(error) });
    }
  }
  return all;
}

async function inTurn(asks, ask) {
  const answers = [];
  for (const request of asks) answers.push(await ask(request));
  return answers;
}

async function answer(classifier, [name, ...given]) {
  try {
    const found = classifier[name];
    const value =
      typeof found === "function" ? await found.apply(classifier, given.map(revived)) : found;
    return { value: plain(value) };
  } catch (error) {
    return { error: plainError(error) };
  }
}

const plainError = ({ name, message, row, stack }) =>
  name === "Error" || name === "TypeError" ? { name, message: stack } : { name, message, row };

/** What JSON does not have: {"$": [kind, value]}. */
function revived(value) {
  if (Array.isArray(value)) return value.map(revived);
  if (typeof value !== "object" || value === null) return value;
  if (!value.$) return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, revived(v)]));
  const [kind, inner] = value.$;
  if (kind === "bigint") return BigInt(inner);
  if (kind === "number") return Number(inner);
  if (kind === "BigInt64Array") return BigInt64Array.from(inner, BigInt);
  return globalThis[kind].from(inner);
}

/** Answers as JSON has them. */
function plain(value) {
  if (ArrayBuffer.isView(value)) return Array.from(value, Number);
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value === "bigint") return { $: ["bigint", String(value)] };
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, plain(v)]));
}
