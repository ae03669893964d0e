// onnxruntime-web, of one thread: more need headers that a server of static files does not send.

import * as ort from "../onnxruntime/ort.wasm.bundle.min.js";

const WASM = new URL("../onnxruntime/ort-wasm-simd-threaded.wasm.packed", import.meta.url);

/**
 * onnxruntime-web, ready to open models.
 *
 * @param {(share: number) => void} progress told how much of it is there, 0 to 1.
 */
export async function openEngine(progress) {
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.proxy = false;
  ort.env.logLevel = "error";
  ort.env.wasm.wasmBinary = await unpacked(await received(WASM, progress));
  return ort;
}

async function received(url, progress) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url.pathname}: the server answers ${response.status}`);
  const whole = Number(response.headers.get("Content-Length"));
  const parts = [];
  let size = 0;
  for (const reader = response.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) return new Blob(parts);
    parts.push(value);
    size += value.length;
    if (whole) progress(Math.min(1, size / whole));
  }
}

const unpacked = (blob) =>
  new Response(blob.stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
