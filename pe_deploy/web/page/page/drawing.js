// A place to draw in with mouse, pen or finger, and the 8 × 8 pixels of it, which keys change, too.

import { element } from "./dom.js";
import { Pixels } from "./pixels.js";
import { pixelsOf } from "./strokes.js";

const PEN = 0.07; // of the width

export class Drawing {
  #changed;
  #strokes = [];
  #canvas;
  #pixels;
  #frame = 0;

  /**
   * @param {Element} place
   * @param {(pixels: number[] | null) => void} changed told the pixels; null where all are empty.
   */
  constructor(place, changed) {
    this.#changed = changed;
    this.#canvas = element("canvas", {
      class: "paper",
      role: "img",
      "aria-label": "Draw a digit here with mouse or finger; with keys, use the grid of pixels",
      onpointerdown: (event) => this.#begin(event),
      onpointermove: (event) => this.#go(event),
    });
    this.#pixels = new Pixels((values) => {
      this.#strokes = [];
      this.#paint();
      this.#tell(values);
    });
    const clear = element("button", { type: "button", id: "clear", onclick: () => this.clear() }, "Clear");
    const help = element(
      "p",
      { class: "small", id: "pixels-help" },
      "By keys: arrows move, Space fills or empties, + and − change a pixel, 0 to 9 set it.",
    );
    place.replaceChildren(
      element(
        "div",
        { class: "drawing" },
        element("div", { class: "sheet" }, this.#canvas),
        element(
          "div",
          { class: "seen" },
          element("p", { class: "small" }, "What the model sees"),
          this.#pixels.element,
          clear,
        ),
      ),
      help,
    );
    new ResizeObserver(() => this.#paint()).observe(this.#canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#paint());
  }

  clear() {
    this.#strokes = [];
    this.#paint();
    this.#pixels.show(null);
    this.#tell(null);
  }

  #begin(event) {
    if (event.button > 0) return;
    event.preventDefault();
    this.#canvas.setPointerCapture(event.pointerId);
    this.#strokes.push([this.#point(event)]);
    this.#soon();
  }

  #go(event) {
    if (!this.#canvas.hasPointerCapture(event.pointerId)) return;
    const moves = event.getCoalescedEvents?.() ?? [];
    for (const move of moves.length ? moves : [event]) this.#strokes.at(-1).push(this.#point(move));
    this.#soon();
  }

  #point({ clientX, clientY }) {
    const { left, top, width, height } = this.#canvas.getBoundingClientRect();
    return [(clientX - left) / width, (clientY - top) / height];
  }

  #soon() {
    cancelAnimationFrame(this.#frame);
    this.#frame = requestAnimationFrame(() => {
      this.#paint();
      const values = pixelsOf(this.#strokes);
      this.#pixels.show(values);
      this.#tell(values);
    });
  }

  #tell(values) {
    this.#changed(values?.some(Boolean) ? values : null);
  }

  #paint() {
    const canvas = this.#canvas;
    const side = Math.round(canvas.clientWidth * devicePixelRatio);
    if (canvas.width !== side) [canvas.width, canvas.height] = [side, side];
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, side, side);
    context.strokeStyle = context.fillStyle = getComputedStyle(canvas).color;
    context.lineWidth = PEN * side;
    context.lineCap = context.lineJoin = "round";
    for (const stroke of this.#strokes) {
      context.beginPath();
      for (const [x, y] of stroke) context.lineTo(x * side, y * side);
      if (stroke.length === 1) context.lineTo(stroke[0][0] * side, stroke[0][1] * side + 0.01);
      context.stroke();
    }
  }
}
