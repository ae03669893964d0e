// A bundle's folder, on a disk or a server: its files, no larger than allowed, and their digests.

import { BundleError, InvalidInputError, lineOf, shown } from "./errors.mjs";

export const MANIFEST = "manifest.json";

const MIB = 2 ** 20;
const LARGEST = {
  [MANIFEST]: MIB,
  "model.onnx": 2 ** 31 - 1,
  "model.throughput.onnx": 2 ** 31 - 1,
};

/** The most bytes that a file of this name may have. */
export const largest = (name) => LARGEST[name] ?? 256 * MIB;

const inNode = typeof process !== "undefined" && Boolean(process.versions?.node);
// By a variable, so that no bundler looks for Node's own modules when it builds a page.
const ofNode = (name) => import(/* webpackIgnore: true */ /* @vite-ignore */ `node:${name}`);

/**
 * The folder that a path or an URL names.
 *
 * @param {string | URL} given in Node a path, or a file:, http: or https: URL; in a browser an URL,
 *   relative to the page.
 * @param {typeof fetch} [fetching] used in place of `fetch`.
 */
export async function openFolder(given, fetching = globalThis.fetch) {
  if (!(given instanceof URL) && typeof given !== "string") {
    throw new InvalidInputError(`folder is ${shown(given)}; allowed: a path or an URL`);
  }
  const isUrl = given instanceof URL || /^(?:https?|file|blob|data):/i.test(given);
  if (inNode && (!isUrl || String(given).toLowerCase().startsWith("file:"))) {
    const { fileURLToPath } = await ofNode("url");
    const path = isUrl ? pathOf(given, fileURLToPath) : given;
    const folder = new DiskFolder(path, await ofNode("fs/promises"));
    await folder.check();
    return folder;
  }
  const base = globalThis.document?.baseURI ?? globalThis.location?.href;
  const url = urlOf(given, base);
  url.hash = "";
  if (!url.pathname.endsWith("/")) url.pathname += "/";
  return new WebFolder(String(given).replace(/\/$/, ""), url, fetching);
}

function pathOf(given, fileURLToPath) {
  try {
    return fileURLToPath(given);
  } catch (error) {
    throw new InvalidInputError(`folder is ${shown(String(given))}: ${lineOf(error)}`);
  }
}

function urlOf(given, base) {
  try {
    return new URL(given, base);
  } catch {
    throw new InvalidInputError(`folder is ${shown(String(given))}; allowed: an URL`);
  }
}

class DiskFolder {
  isNear = true;

  constructor(path, fs) {
    this.path = path.length > 1 ? path.replace(/[/\\]+$/, "") : path;
    this.fs = fs;
  }

  /** The bytes of a regular file; null where there is none. */
  async read(name, size) {
    const where = `${this.path}/${name}`;
    try {
      const found = await this.fs.stat(where); // to open a device may act on it
      if (!found.isFile()) throw new BundleError(`${where} is not a regular file`);
      checkSize(where, found.size, name, size);
      const data = await this.fs.readFile(where);
      checkSize(where, data.length, name, size);
      return new Uint8Array(data.buffer, data.byteOffset, data.length);
    } catch (error) {
      if (error instanceof BundleError) throw error;
      if (error.code === "ENOENT") return null;
      throw new BundleError(`${this.path} cannot be read: ${lineOf(error)}`, { cause: error });
    }
  }

  async check() {
    const found = await this.fs.stat(this.path).catch(() => null);
    if (!found?.isDirectory()) {
      throw new BundleError(
        `${this.path} is not a folder; a bundle is a folder with a ${MANIFEST}`,
      );
    }
  }
}

class WebFolder {
  isNear = false;

  constructor(path, url, fetching) {
    this.path = path;
    this.url = url;
    this.fetch = fetching;
  }

  /**
   * The bytes of a file; null where there is none.
   *
   * Whether a manifest that the browser has kept is still the one, is always asked.
   */
  async read(name, size, cache = name === MANIFEST ? "no-cache" : "default") {
    const where = `${this.path}/${name}`;
    const url = new URL(this.url);
    url.pathname += name; // its query stays, as that of a signed URL
    try {
      const response = await this.fetch.call(globalThis, url, { cache });
      if (response.status === 404 || response.status === 410) return null;
      if (!response.ok) throw new BundleError(`${where}: the server answers ${response.status}`);
      const data = await received(response, Math.min(largest(name), size ?? Infinity));
      checkSize(where, data.length, name, size);
      return data;
    } catch (error) {
      if (error instanceof BundleError) throw error;
      throw new BundleError(`${this.path} cannot be read: ${lineOf(error)}`, { cause: error });
    }
  }
}

/** What a server sends, but no more than one byte above `most`. */
async function received(response, most) {
  const parts = [];
  let total = 0;
  for (const reader = response.body.getReader(); total <= most;) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    total += value.length;
    if (total > most) await reader.cancel();
  }
  const data = new Uint8Array(total);
  let at = 0;
  for (const part of parts) {
    data.set(part, at);
    at += part.length;
  }
  return data;
}

function checkSize(where, found, name, size) {
  if (size !== undefined && found !== size) {
    throw new BundleError(
      `${where} was changed after it was published: it has ${found} bytes instead of ${size}`,
    );
  }
  if (found > largest(name)) {
    throw new BundleError(`${where} has ${found} bytes; allowed: ${largest(name)} or fewer`);
  }
}

/** The SHA-256 of some bytes, 64 hexadecimal digits. */
export async function sha256(data) {
  const { subtle } = globalThis.crypto ?? (inNode ? (await ofNode("crypto")).webcrypto : {});
  if (!subtle) {
    throw new BundleError(
      "the digests of a bundle cannot be checked: this page has no crypto.subtle; " +
        "open it by https: or from localhost",
    );
  }
  return hex(new Uint8Array(await subtle.digest("SHA-256", data)));
}

/** Bytes as hexadecimal digits. */
export const hex = (bytes) => Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");
