// What a visitor gives the model: a text, ids, or a drawing.

import { element } from "./dom.js";
import { Drawing } from "./drawing.js";
import { idsOf } from "./ids.js";

/**
 * Make the input that a page has.
 *
 * @param {"text" | "ids" | "drawing"} kind
 * @param {Element} place
 * @param {object} classifier
 * @param {string[]} examples what a visitor may try.
 * @param {import("./asking.js").Asking} asking
 */
export function makeInput(kind, place, classifier, examples, asking) {
  if (kind === "drawing") {
    new Drawing(place, (pixels) => asking.ask(() => pixels && [pixels]));
    return;
  }
  const read = kind === "text" ? (typed) => typed : idsOf;
  const name = kind === "text" ? "Text" : "Ids, separated by spaces or commas";
  const { vocab_size, min_length, max_length } = classifier.signature;
  const lengths = min_length === max_length ? max_length : `${min_length} to ${max_length}`;
  const field = element("textarea", {
    id: "field",
    rows: 4,
    autocomplete: "off",
    spellcheck: "false",
    "aria-describedby": "input-error",
    placeholder: kind === "text" ? "Write here" : `${lengths} ids from 0 to ${vocab_size - 1}`,
    oninput: ask,
  });
  function ask() {
    const typed = field.value;
    asking.ask(() => (typed.trim() ? [read(typed)] : null));
  }
  const tries = examples.map((example) =>
    element("button", { type: "button", class: "example", onclick: () => fill(example) }, example),
  );
  function fill(example) {
    field.value = example;
    ask();
  }
  place.replaceChildren(element("label", { for: "field" }, name), field);
  if (tries.length) place.append(element("p", { class: "examples" }, "Try ", ...tries));
  ask();
}
