// The proof: the golden vectors, replayed in this browser.

import { element } from "./dom.js";

const exponent = (number) => number.toExponential(1);

/** Show what came of each case. */
export function showProof(place, report, { takesText }) {
  const { passed, vectors, texts, largestDifference, tolerance, cases } = report;
  const what = [`${vectors} golden vectors`];
  if (takesText && texts) what.push(`${texts} golden texts`);
  const said = passed
    ? `${what.join(" and ")} replayed in this browser, largest difference ` +
      `${exponent(largestDifference)}.`
    : `${what.join(" and ")} replayed in this browser, and they differ: this model gives no answers.`;
  place.replaceChildren(
    element("p", { class: passed ? "passed" : "failed", role: passed ? "none" : "alert" }, said),
  );
  place.append(
    element(
      "details",
      { open: !passed },
      element("summary", {}, "Each of them"),
      element("p", { class: "small" }, `Allowed: ${tolerance}`),
      element("div", { class: "scrolls", tabindex: 0, role: "region", "aria-label": "Golden vectors" }, table(cases)),
    ),
  );
}

function table(cases) {
  const head = ["case", "rows", "length", "difference", "allowed", "result"];
  const body = cases.map(({ name, rows, length, difference, allowed, passed }) =>
    element(
      "tr",
      { class: passed ? "" : "failed" },
      element("th", { scope: "row" }, String(name)),
      ...[rows, length, exponent(difference), exponent(allowed)].map((value) =>
        element("td", {}, String(value)),
      ),
      element("td", {}, passed ? "passed" : "differs"),
    ),
  );
  const names = head.map((name) => element("th", { scope: "col" }, name));
  return element(
    "table",
    {},
    element("thead", {}, element("tr", {}, ...names)),
    element("tbody", {}, ...body),
  );
}
