// Serves a folder, opens Chromium, does what a scenario says, and prints what it found.

import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { join } from "node:path";
import { json } from "node:stream/consumers";

import * as scenarios from "./scenarios.mjs";

const TYPES = { html: "text/html", js: "text/javascript", css: "text/css", svg: "image/svg+xml" };

const [packages, executablePath] = process.argv.slice(2);
const { chromium } = createRequire(`${packages}/`)("playwright-core");
const { scenario, root, given } = await json(process.stdin);

// As the plainest server does it: no headers but the type, and what it does not know is bytes.
const server = createServer(async (request, response) => {
  const path = decodeURIComponent(new URL(request.url, "http://site").pathname);
  const file = join(root, path.endsWith("/") ? `${path}index.html` : path);
  const found = await stat(file).catch(() => null);
  if (!found?.isFile()) {
    response.writeHead(404).end();
    return;
  }
  const type = TYPES[file.split(".").at(-1)] ?? "application/octet-stream";
  response.writeHead(200, { "Content-Type": type, "Content-Length": found.size });
  createReadStream(file).pipe(response);
});
await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
const { port } = server.address();

const browser = await chromium.launch({
  executablePath,
  args: ["--no-sandbox", `--host-resolver-rules=MAP site.test 127.0.0.1`],
});
const complaints = [];
const foreign = [];
const context = await browser.newContext({ acceptDownloads: true, ...given.context });
context.on("console", (message) => {
  if (["error", "warning"].includes(message.type())) complaints.push(message.text());
});
context.on("weberror", (error) => complaints.push(String(error.error())));
context.on("request", (request) => {
  const { host, protocol } = new URL(request.url());
  if (protocol !== "blob:" && host.split(":")[1] !== String(port)) foreign.push(request.url());
});
const site = {
  base: `http://127.0.0.1:${port}`,
  port,
  context,
  stop: () => new Promise((closed) => (server.close(closed), server.closeAllConnections())),
};
const found = await scenarios[scenario](site, given);
await browser.close();
if (server.listening) await site.stop();
console.log(JSON.stringify({ found, complaints, foreign }));
