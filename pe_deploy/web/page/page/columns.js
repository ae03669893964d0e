// What a model answers for some rows, as columns of a table: those that `pe-deploy predict` adds.

import { floatText, ofFloat32 } from "./numbers.js";

const SEPARATOR = ";";

/** The names of the columns that a model's task adds. */
export function columnsOf({ signature, labels }) {
  switch (signature.task) {
    case "multilabel":
      return ["labels", ...labels.map((label) => `probability_${label}`)];
    case "tokens":
      return ["labels", "probabilities"];
    case "regression":
      return labels.length > 1 ? labels.map((name) => `value_${name}`) : ["value"];
    default:
      return ["label", "probability"];
  }
}

/** The cells of these columns for each of some rows. */
export async function cellsFor(classifier, rows) {
  const { signature, labels } = classifier;
  if (signature.task === "multilabel") {
    const probabilities = await classifier.predictProba(rows);
    const chosen = await classifier.predict(rows);
    return chosen.map((some, at) => [joined(some), ...Array.from(probabilities[at], floatText)]);
  }
  if (signature.task === "regression") {
    const { data } = await classifier.predictLogits(rows);
    const numbers = Array.from(data, (number) => floatText(ofFloat32(number)));
    return rows.map((_, at) => numbers.slice(at * labels.length, (at + 1) * labels.length));
  }
  const found = await classifier.predictWithProbability(rows);
  const isList = signature.task === "tokens";
  return rows.map((_, at) =>
    isList
      ? [joined(found.labels[at]), Array.from(found.probabilities[at], floatText).join(SEPARATOR)]
      : [String(found.labels[at]), floatText(found.probabilities[at])],
  );
}

function joined(labels) {
  const texts = Array.from(labels, String);
  const odd = texts.find((text) => !text || text.includes(SEPARATOR));
  if (odd !== undefined) {
    throw new Error(
      `'${odd}' cannot be told apart in a cell; ` +
        `allowed: text without '${SEPARATOR}'; other formats hold any`,
    );
  }
  return texts.join(SEPARATOR);
}
