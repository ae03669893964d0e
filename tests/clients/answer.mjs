// A model's answers to many requests, in any JavaScript binding of onnxruntime.

const ARRAYS = {
  int64: BigInt64Array,
  uint64: BigUint64Array,
  int32: Int32Array,
  float32: Float32Array,
};

/**
 * @param ort the binding, as its package exports it.
 * @param model the bytes of a model.onnx.
 * @param job {levels, together, requests: [{input, dtype, dims, base64}]}, of strings with texts for
 *   base64.
 *   together: all at once, which onnxruntime-web cannot do: there, runs that overlap spoil each
 *   other's answers, so an app has to await one before it starts the next.
 * @returns for each level a list: for each request {logits, dims} or {error}, in order.
 */
export async function answer(ort, model, { levels, together, requests }) {
  const answers = [];
  for (const level of levels) {
    const options = { graphOptimizationLevel: level, logSeverityLevel: 4 };
    const session = await ort.InferenceSession.create(model, options);
    const ask = (request) => answerOne(ort, session, request);
    answers.push(together ? await Promise.all(requests.map(ask)) : await inTurn(requests, ask));
  }
  return answers;
}

async function inTurn(requests, ask) {
  const answers = [];
  for (const request of requests) answers.push(await ask(request));
  return answers;
}

function values({ dtype, base64, texts }) {
  if (dtype === "string") return texts;
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  return new ARRAYS[dtype](bytes.buffer);
}

async function answerOne(ort, session, request) {
  const { input, dtype, dims } = request;
  try {
    const tensor = new ort.Tensor(dtype, values(request), dims);
    const { logits } = await session.run({ [input]: tensor });
    return { logits: Array.from(logits.data), dims: Array.from(logits.dims) };
  } catch (error) {
    return { error: String(error.message ?? error) };
  }
}
