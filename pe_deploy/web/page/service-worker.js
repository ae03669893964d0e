// Keeps the site for visits without a network: all of its files, of one version, as published.

const SITE = { version: '', files: {} };

const SCOPE = new URL(self.registration.scope);
const OWN = `pe-deploy ${SCOPE.pathname} `; // other sites of the same origin have caches, too
const CACHE = OWN + SITE.version;
const INDEX = "index.html";

self.addEventListener("install", (event) => event.waitUntil(keep()));
self.addEventListener("activate", (event) => event.waitUntil(takeOver()));
self.addEventListener("message", ({ data }) => {
  if (data === "replace") self.skipWaiting();
});
self.addEventListener("fetch", (event) => {
  const name = nameOf(event.request);
  if (name !== null) event.respondWith(answer(event.request, name));
});

/** Fetch every file; one that is not of this version ends it, and the next visit tries again. */
async function keep() {
  const cache = await caches.open(CACHE);
  const names = Object.keys(SITE.files);
  try {
    await Promise.all(names.map(async (name) => cache.put(urlOf(name), await received(name))));
  } catch (error) {
    await caches.delete(CACHE);
    throw error;
  }
}

async function received(name) {
  const response = await fetch(urlOf(name), { cache: "no-cache" });
  if (!response.ok) throw new Error(`${name}: the server answers ${response.status}`);
  const data = await response.arrayBuffer();
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", data));
  const hex = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (hex !== SITE.files[name]) throw new Error(`${name} is not of this version of the site`);
  // Anew: a response that was redirected may not answer for a page, and this one is unpacked.
  const type = response.headers.get("Content-Type");
  const headers = { "Content-Length": data.byteLength, ...(type && { "Content-Type": type }) };
  return new Response(data, { headers });
}

async function takeOver() {
  const names = await caches.keys();
  const old = names.filter((name) => name.startsWith(OWN) && name !== CACHE);
  await Promise.all(old.map((name) => caches.delete(name)));
  await self.clients.claim();
}

const urlOf = (name) => new URL(name, SCOPE).href;

/** Which file of the site a request is for; null where it is for none. */
function nameOf({ method, url }) {
  const { origin, pathname } = new URL(url);
  if (method !== "GET" || origin !== SCOPE.origin || !pathname.startsWith(SCOPE.pathname)) return null;
  const name = decodeURIComponent(pathname.slice(SCOPE.pathname.length)) || INDEX;
  return Object.hasOwn(SITE.files, name) ? name : null;
}

async function answer(request, name) {
  const cache = await caches.open(CACHE);
  return (await cache.match(urlOf(name))) ?? fetch(request);
}
