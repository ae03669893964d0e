// A file in, by drop or by choice, and the same file with answers out.

import { element } from "./dom.js";
import { answered } from "./table.js";

export class FilePanel {
  #classifier;
  #result;
  #tolerant;
  #file = null;
  #running = new AbortController();
  #url = null;

  constructor(place, classifier) {
    this.#classifier = classifier;
    const column = classifier.takesText ? "text or input_ids" : "input_ids";
    const choose = element("input", {
      type: "file",
      id: "choose",
      accept: ".csv,.tsv,text/csv,text/tab-separated-values",
      onchange: () => {
        const [file] = choose.files;
        choose.value = ""; // else the same file, mended meanwhile, is no other choice
        this.#take(file);
      },
    });
    this.#tolerant = element("input", { type: "checkbox", id: "tolerant", onchange: () => this.#run() });
    const drop = element(
      "div",
      { class: "drop" },
      element("label", { for: "choose" }, `Drop a CSV file with a column ${column} here, or choose one: you get it back with the answers added.`),
      choose,
    );
    this.#result = element("div", { class: "result" });
    place.replaceChildren(
      drop,
      element(
        "p",
        { class: "choice" },
        this.#tolerant,
        element("label", { for: "tolerant" }, "Rows without an answer stay empty, and a column error says why"),
      ),
      this.#result,
    );
    // On the whole page: a browser would leave it for a file that is dropped beside the place.
    document.addEventListener("dragover", (event) => {
      event.preventDefault();
      drop.classList.add("over");
    });
    document.addEventListener("dragleave", (event) => {
      if (!event.relatedTarget) drop.classList.remove("over");
    });
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      drop.classList.remove("over");
      this.#take(event.dataTransfer?.files[0]);
    });
  }

  #take(file) {
    if (!file) return;
    this.#file = file;
    this.#run();
  }

  async #run() {
    if (!this.#file) return;
    this.#running.abort();
    const running = (this.#running = new AbortController());
    const file = this.#file;
    const bar = element("progress", { max: 1, value: 0, "aria-label": `Answering ${file.name}` });
    const said = element("p", { role: "status" }, `Answering ${file.name}…`);
    const stop = element("button", { type: "button", onclick: () => running.abort() }, "Stop");
    this.#result.replaceChildren(said, bar, stop);
    const progress = (share) => (bar.value = share);
    try {
      const tolerant = this.#tolerant.checked;
      const { signal } = running;
      const table = await answered(this.#classifier, file, { tolerant, progress, signal });
      if (this.#running === running) this.#show(file, table);
    } catch (error) {
      if (this.#running !== running) return; // another file, or another choice
      const stopped = running.signal.aborted;
      const reason = stopped ? `${file.name}: stopped` : `${file.name}: ${error.message}`;
      this.#result.replaceChildren(
        element("p", { class: stopped ? "" : "failed", role: "status" }, reason),
      );
    }
  }

  #show(file, { blob, rows, errors, header, first }) {
    if (this.#url) URL.revokeObjectURL(this.#url);
    this.#url = URL.createObjectURL(blob);
    const name = file.name.replace(/(\.[^.]*)?$/, (suffix) => `-answers${suffix || ".csv"}`);
    const without = errors ? `, ${errors.toLocaleString("en")} without an answer` : "";
    this.#result.replaceChildren(
      element("p", { role: "status" }, `${rows.toLocaleString("en")} rows${without}.`),
      element("p", {}, element("a", { class: "save", href: this.#url, download: name }, `Save ${name}`)),
    );
    if (!first.length) return;
    const head = header.map((cell) => element("th", { scope: "col" }, cell));
    const body = first.map((cells) =>
      element("tr", {}, ...cells.map((cell) => element("td", { title: cell }, cell))),
    );
    this.#result.append(
      element(
        "div",
        { class: "scrolls", tabindex: 0, role: "region", "aria-label": "The first rows" },
        element(
          "table",
          {},
          element("thead", {}, element("tr", {}, ...head)),
          element("tbody", {}, ...body),
        ),
      ),
    );
  }
}
