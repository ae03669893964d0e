// The 8 × 8 pixels as a grid: shown, drawn in with a pointer, and changed by keys.

import { element } from "./dom.js";
import { SIDE } from "./strokes.js";

const FULL = 16;
const MOVES = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

export class Pixels {
  #changed;
  #values = new Array(SIDE * SIDE).fill(0);
  #cells;
  #at = 0;
  #brush = FULL;

  /** @param {(values: number[]) => void} changed told the pixels when a visitor changes one. */
  constructor(changed) {
    this.#changed = changed;
    this.#cells = this.#values.map(() => element("div", { role: "gridcell", tabindex: -1 }));
    const rows = Array.from({ length: SIDE }, (_, row) =>
      element("div", { role: "row" }, ...this.#cells.slice(row * SIDE, (row + 1) * SIDE)),
    );
    this.element = element(
      "div",
      {
        class: "pixels",
        role: "grid",
        "aria-label": "Pixels",
        "aria-describedby": "pixels-help",
        onkeydown: (event) => this.#key(event),
        onpointerdown: (event) => this.#begin(event),
        onpointermove: (event) => this.#go(event),
      },
      ...rows,
    );
    this.#cells[0].tabIndex = 0;
    this.show(null);
  }

  /** @param {number[] | null} values 0 to 16 of each; null for none. */
  show(values) {
    this.#values = values ? [...values] : new Array(SIDE * SIDE).fill(0);
    this.#values.forEach((_, at) => this.#draw(at));
  }

  #draw(at) {
    const value = this.#values[at];
    const cell = this.#cells[at];
    cell.style.setProperty("--ink", String(value / FULL));
    cell.setAttribute("aria-label", `row ${Math.floor(at / SIDE) + 1}, column ${(at % SIDE) + 1}: ${value}`);
  }

  #set(at, value) {
    const within = Math.max(0, Math.min(FULL, value));
    if (this.#values[at] === within) return;
    this.#values[at] = within;
    this.#draw(at);
    this.#changed([...this.#values]);
  }

  #move(at) {
    this.#cells[this.#at].tabIndex = -1;
    this.#at = at;
    this.#cells[at].tabIndex = 0;
    this.#cells[at].focus();
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { key } = event;
    const [row, column] = [Math.floor(this.#at / SIDE), this.#at % SIDE];
    const value = this.#values[this.#at];
    if (MOVES[key]) {
      const [down, right] = MOVES[key];
      const within = (place) => Math.max(0, Math.min(SIDE - 1, place));
      this.#move(within(row + down) * SIDE + within(column + right));
    } else if (key === "Home" || key === "End") {
      this.#move(row * SIDE + (key === "Home" ? 0 : SIDE - 1));
    } else if (key === " " || key === "Enter") {
      this.#set(this.#at, value ? 0 : FULL);
    } else if (key === "+" || key === "=") {
      this.#set(this.#at, value + 1);
    } else if (key === "-" || key === "−") {
      this.#set(this.#at, value - 1);
    } else if (/^[0-9]$/.test(key)) {
      this.#set(this.#at, Number(key));
    } else if (key === "Delete" || key === "Backspace") {
      this.#set(this.#at, 0);
    } else return;
    event.preventDefault();
  }

  #begin(event) {
    const at = this.#cells.indexOf(event.target);
    if (at < 0 || event.button > 0) return;
    event.preventDefault();
    this.element.setPointerCapture(event.pointerId);
    this.#brush = this.#values[at] ? 0 : FULL; // a stroke that begins on ink takes ink away
    this.#move(at);
    this.#set(at, this.#brush);
  }

  #go(event) {
    if (!this.element.hasPointerCapture(event.pointerId)) return;
    const at = this.#cells.indexOf(document.elementFromPoint(event.clientX, event.clientY));
    if (at >= 0) this.#set(at, this.#brush);
  }
}
