// From logits to probabilities and labels: the only place where that is done.

import { InvalidInputError, quoted, shown } from "./errors.mjs";

/** How many labels a model tells apart, or numbers it gives: 2 for a binary logit. */
export const numLabels = ({ task, num_classes }) =>
  task === "classes" || task === "tokens" ? Math.max(2, num_classes) : num_classes;

/** The shape of `logits` for a batch of rows of one length. */
export function outputShape({ task, num_classes }, batch, length) {
  const rows = task === "tokens" ? [batch, length] : [batch];
  return num_classes === 1 && task !== "multilabel" ? rows : [...rows, num_classes];
}

/** Whether labels are chosen by a probability each: of a binary logit, and for multilabel. */
const takesThreshold = ({ task, num_classes }) =>
  task === "multilabel" || (task !== "regression" && num_classes === 1);

/**
 * Check that labels and threshold fit a model's output.
 *
 * @throws {InvalidInputError}
 */
export function checkDecision({ labels, threshold, task }, signature) {
  const list = `[${labels.map(each).join(", ")}]`;
  const isInteger = (label) => Number.isInteger(label) || typeof label === "bigint";
  if (!labels.length || !(labels.every(isInteger) || labels.every((l) => typeof l === "string"))) {
    throw new InvalidInputError(`labels are ${list}; allowed: all int or all str`);
  }
  for (const label of labels) {
    const survives = typeof label === "string" ? !label.endsWith("\0") : isInt64(label);
    if (!survives) {
      throw new InvalidInputError(
        `label ${each(label)} would not come back unchanged; allowed: int64, or Unicode text ` +
          "that does not end with NUL",
      );
    }
  }
  const wanted = numLabels(signature);
  if (new Set(labels).size !== labels.length || labels.length !== wanted) {
    throw new InvalidInputError(`labels are ${list}; allowed: ${wanted} distinct labels`);
  }
  if (!takesThreshold(signature)) {
    if (threshold !== null) {
      const what = task === "regression" ? task : "classes";
      throw new InvalidInputError(`threshold is ${shown(threshold)}; allowed: none with ${what}`);
    }
  } else if (typeof threshold !== "number" || !(threshold >= 0 && threshold <= 1)) {
    throw new InvalidInputError(`threshold is ${shown(threshold)}; allowed: 0.0 to 1.0`);
  }
}

const each = (label) => (typeof label === "string" ? quoted(label) : shown(label));
const isInt64 = (label) => BigInt.asIntN(64, BigInt(label)) === BigInt(label);

/**
 * From logits to answers, for a task, its labels and a threshold.
 *
 * Every method takes the logits of one answer: of a row, or of a token.
 */
export class Decision {
  constructor({ labels, threshold, task }) {
    this.labels = labels;
    this.threshold = threshold;
    this.task = task;
    Object.freeze(this);
  }

  /** The probability of each label, in double precision; they sum to 1, but for multilabel. */
  probabilities(logits) {
    this.#checkHasLabels("probabilities");
    if (this.task === "multilabel") return Array.from(logits, sigmoid);
    const exact = this.threshold === null ? Array.from(logits) : [0, logits[0]];
    const highest = Math.max(...exact);
    const shifted = exact.map((logit) => Math.exp(logit - highest));
    const sum = shifted.reduce((total, one) => total + one, 0);
    return shifted.map((one) => one / sum);
  }

  /** The index of the answer in `labels`; for multilabel, whether each label is part of it. */
  chosen(logits, probabilities) {
    this.#checkHasLabels("labels");
    if (this.threshold === null) return logits.indexOf(highestOf(logits));
    const found = probabilities ?? this.probabilities(logits);
    if (this.task === "multilabel") return found.map((one) => one > this.threshold);
    return Number(found[1] > this.threshold);
  }

  /** The label; for multilabel a list of labels; for a regression the number, or a list of them. */
  answer(logits, isSingle) {
    if (this.task === "regression") return isSingle ? logits[0] : Array.from(logits);
    const chosen = this.chosen(logits);
    if (this.task === "multilabel") return this.labels.filter((_, index) => chosen[index]);
    return this.labels[chosen];
  }

  /** The label, and its probability. */
  withProbability(logits) {
    if (this.task !== "classes" && this.task !== "tokens") {
      throw new InvalidInputError(`task is ${this.task}; one label needs classes or tokens`);
    }
    const probabilities = this.probabilities(logits);
    const chosen = this.chosen(logits, probabilities);
    return [this.labels[chosen], probabilities[chosen]];
  }

  /** The answer as golden vectors record it, a list of labels: for multilabel each with a sign. */
  recorded(logits) {
    const chosen = this.chosen(logits);
    if (this.task !== "multilabel") return [this.labels[chosen]];
    return this.labels.map((label, index) => `${chosen[index] ? "+" : "-"}${label}`);
  }

  #checkHasLabels(what) {
    if (this.task === "regression") {
      throw new InvalidInputError(`task is regression, whose numbers have no ${what}`);
    }
  }
}

/** `1 / (1 + exp(-z))`, exact in both tails. */
export function sigmoid(logit) {
  const small = Math.exp(-Math.abs(logit));
  return (logit < 0 ? small : 1) / (1 + small);
}

function highestOf(numbers) {
  let highest = -Infinity;
  for (const number of numbers) if (number > highest) highest = number;
  return highest;
}
