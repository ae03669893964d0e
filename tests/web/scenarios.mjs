// What visitors do, each as a function of the site and of what it is given.

import { readFile, writeFile } from "node:fs/promises";

async function opened(site, path = "/site/", base = site.base) {
  const page = await site.context.newPage();
  await page.goto(base + path);
  await page.locator("body[data-ready], body[data-failed]").waitFor();
  return page;
}

/** What the page answers, once nothing else is on its way. */
async function settled(page) {
  // A drawing is read with the next frame.
  await page.evaluate(() => new Promise((next) => requestAnimationFrame(() => setTimeout(next))));
  await page.locator("#answer[aria-busy=false]").waitFor();
  return answer(page);
}

const answer = (page) =>
  page.evaluate(() => ({
    answer: document.querySelector("#answer").innerText,
    said: document.querySelector("#answer .said")?.innerText ?? null,
    error: document.querySelector("#input-error").innerText,
    bars: Array.from(document.querySelectorAll("#answer .bars li"), (bar) => [
      bar.querySelector(".label").textContent,
      bar.querySelector(".value").textContent,
    ]),
  }));

const pixels = (page) =>
  page
    .locator("[role=gridcell]")
    .evaluateAll((cells) => cells.map((cell) => Number(cell.ariaLabel.split(": ")[1])));

/** Each drawing with the mouse, or with a finger. */
export async function draw(site, { drawings, finger }) {
  const page = await opened(site);
  const { x, y, width, height } = await page.locator("canvas").boundingBox();
  const client = await site.context.newCDPSession(page);
  const at = ([left, top]) => [x + left * width, y + top * height];
  const touch = (type, point) =>
    client.send("Input.dispatchTouchEvent", {
      type,
      touchPoints: point ? [{ x: at(point)[0], y: at(point)[1] }] : [],
    });
  const found = [];
  for (const strokes of drawings) {
    for (const [first, ...rest] of strokes) {
      if (finger) {
        await touch("touchStart", first);
        for (const point of rest) await touch("touchMove", point);
        await touch("touchEnd");
      } else {
        await page.mouse.move(...at(first));
        await page.mouse.down();
        for (const point of rest) await page.mouse.move(...at(point));
        await page.mouse.up();
      }
    }
    found.push({ ...(await settled(page)), pixels: await pixels(page) });
    await page.locator("#clear").click();
  }
  return { found, cleared: await settled(page) };
}

/** The grid of pixels by keys alone, from the top of the page. */
export async function keys(site, { presses }) {
  const page = await opened(site);
  await page.keyboard.press("Tab");
  const isThere = () => page.evaluate(() => document.activeElement.role === "gridcell");
  for (let tabs = 0; tabs < 9 && !(await isThere()); tabs++) await page.keyboard.press("Tab");
  for (const key of presses) await page.keyboard.press(key);
  return { ...(await settled(page)), pixels: await pixels(page) };
}

/** What is typed or pasted into the field, one after the other. */
export async function type(site, { inputs, path }) {
  const page = await opened(site, path);
  const found = [];
  for (const input of inputs) {
    await page.locator("#field").fill(input);
    found.push(await settled(page));
  }
  const proof = await page.locator("#proof").innerText();
  return { found, proof, title: await page.title() };
}

/** Many letters faster than answers come. */
export async function hurry(site, { text }) {
  const page = await opened(site);
  await page.locator("#field").pressSequentially(text, { delay: 5 });
  return settled(page);
}

/** Files that are dropped on the page; each comes back, or the line that says why not. */
export async function drop(site, { files, tolerant }) {
  const page = await opened(site);
  const found = [];
  for (const { name, path } of files) {
    const base64 = (await readFile(path)).toString("base64");
    const data = await page.evaluateHandle(
      ([base64, name]) => {
        const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
        const transfer = new DataTransfer();
        transfer.items.add(new File([bytes], name));
        return transfer;
      },
      [base64, name],
    );
    await page.locator("#tolerant").setChecked(Boolean(tolerant));
    await page.locator("footer").dispatchEvent("drop", { dataTransfer: data });
    await page.locator(".result .save, .result .failed").waitFor();
    const said = await page.locator(".result [role=status]").innerText();
    const save = page.locator(".result .save");
    if (!(await save.count())) {
      found.push({ said });
      continue;
    }
    const [download] = await Promise.all([page.waitForEvent("download"), save.click()]);
    const text = await readFile(await download.path(), "utf8");
    found.push({ said, text, name: download.suggestedFilename() });
  }
  return found;
}

/** A file that is chosen, mended where it lies, and chosen again. */
export async function mended(site, { path, texts }) {
  const page = await opened(site);
  const found = [];
  for (const text of texts) {
    await writeFile(path, text);
    const [chooser] = await Promise.all([
      page.waitForEvent("filechooser"),
      page.locator("#choose").click(),
    ]);
    const held = await page.locator("#choose").inputValue(); // the same again would be no change
    await chooser.setFiles(path);
    await page.locator(".result .save, .result .failed").waitFor();
    found.push([held, await page.locator(".result [role=status]").innerText()]);
  }
  return found;
}

/** A browser that refuses to keep anything. */
export async function blocked(site) {
  await site.context.addInitScript(() => {
    Object.defineProperty(Navigator.prototype, "serviceWorker", {
      get() {
        throw new DOMException("The operation is insecure.", "SecurityError");
      },
    });
  });
  const page = await opened(site);
  await page.locator("#offline").filter({ hasText: /./ }).waitFor();
  return {
    state: await page.locator("#state").isVisible(),
    offline: await page.locator("#offline").innerText(),
  };
}

/** A visit, and another when the server is gone. */
export async function offline(site, { path, input }) {
  const page = await opened(site, path);
  await page.locator("body[data-offline]").waitFor();
  await page.close();
  await site.stop();
  const again = await opened(site, path);
  await again.locator("#field").fill(input);
  return { ...(await settled(again)), proof: await again.locator("#proof").innerText() };
}

/** A visit, a newer site in its place, and what becomes of it. */
export async function update(site, { next }) {
  const { rename } = await import("node:fs/promises");
  const page = await opened(site);
  await page.locator("body[data-offline]").waitFor();
  await rename(`${next}/site`, `${next}/old`);
  await rename(`${next}/next`, `${next}/site`);
  await page.reload();
  await page.locator("#newer").waitFor();
  const before = await page.title();
  await Promise.all([page.waitForEvent("load"), page.locator("#reload").click()]);
  await page.locator("body[data-ready]").waitFor();
  const caches = await page.evaluate(() => caches.keys());
  return { before, after: await page.title(), caches };
}

/** What a page shows that does not get ready, or that is opened under another name. */
export async function look(site, { host }) {
  const base = host ? `http://${host}:${site.port}` : site.base;
  const page = await opened(site, "/site/", base);
  const isSeen = (selector) => page.locator(selector).isVisible();
  return {
    state: await page.locator("#state").innerText(),
    proof: await page.locator("#proof").innerText(),
    hasInput: await isSeen("#input"),
    hasFile: await isSeen("#file"),
    color: await page.locator("#state").evaluate((state) => getComputedStyle(state).color),
  };
}

/** How wide the page is in windows of some widths. */
export async function widths(site, { windows }) {
  const page = await opened(site);
  const found = [];
  for (const width of windows) {
    await page.setViewportSize({ width, height: 700 });
    found.push(await page.evaluate(() => document.documentElement.scrollWidth));
  }
  return found;
}
