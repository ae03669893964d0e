// node engine.mjs FOLDER...: what the module makes of an engine that is watched, as JSON.
//
// The engine stands in for onnxruntime and computes a toy; its logits of a row are known, so that
// every task is seen, and what no real model does: fail, be slow, answer NaN.

import { open } from "../../js/pe-deploy.mjs";

export function engineThat(answer) {
  const seen = { running: 0, most: 0, rows: [], released: 0 };
  class Tensor {
    constructor(type, data, dims) {
      Object.assign(this, { type, data, dims });
    }
  }
  const run = async ({ input_ids: { data, dims } }) => {
    seen.running += 1;
    seen.most = Math.max(seen.most, seen.running);
    await new Promise((resolve) => setTimeout(resolve, 1));
    seen.running -= 1;
    if (data.length !== dims[0] * dims[1] || !data.length) throw new Error("aborted");
    const ids = Array.from(data, Number);
    const { vocab, longest, shortest, pad } = engine;
    const isPad = dims[0] === 1 && ids.every((id) => id === pad);
    if (ids.some((id) => id < 0 || id >= vocab) || isPad) throw new Error("guard_id");
    if (dims[1] > longest || dims[1] < shortest) throw new Error("guard_sequence");
    seen.rows.push(dims[0]);
    return { logits: answer(ids, dims) };
  };
  const release = async () => void (seen.released += 1);
  const InferenceSession = { create: async () => ({ run, release }) };
  const engine = { InferenceSession, Tensor, seen };
  return engine;
}

export async function opened(folder, answer, options) {
  const { readFileSync } = await import("node:fs");
  const { signature } = JSON.parse(readFileSync(`${folder}/manifest.json`, "utf8"));
  const engine = engineThat(answer);
  engine.vocab = signature.vocab_size;
  engine.longest = signature.max_length;
  engine.shortest = signature.min_length ?? 1;
  engine.pad = signature.pad_id;
  const classifier = await open(folder, engine, options);
  engine.seen.rows = [];
  return { classifier, engine, seen: engine.seen };
}
