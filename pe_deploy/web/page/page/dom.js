// Elements made in a line.

/**
 * An element with attributes and children.
 *
 * @param {string} tag
 * @param {Record<string, unknown>} [attributes] those that are functions listen: `onclick`.
 * @param {...(Node | string)} children
 */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/** A share as it is shown to people. */
export const percent = (share) => `${(100 * share).toFixed(1)} %`;

/** A number with so many digits that count. */
export const short = (number) =>
  Number.isFinite(number) ? String(Number(number.toPrecision(5))) : String(number);
