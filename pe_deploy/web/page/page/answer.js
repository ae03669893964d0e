// The answer: a label and bars, a label for each token, or numbers.

import { element, percent, short } from "./dom.js";

const MOST_BARS = 12; // above that, the largest come first and the rest are folded
const SHOWN = 8;

export class AnswerView {
  #classifier;
  #place;
  #view;

  constructor(place, classifier) {
    this.#classifier = classifier;
    this.#place = place;
    const { task } = classifier.signature;
    const View = { tokens: Tokens, regression: Numbers }[task] ?? Labels;
    this.#view = new View(place, classifier);
  }

  /** Say whether another answer is on its way. */
  isBusy(is) {
    this.#place.setAttribute("aria-busy", String(is));
  }

  /** What there is to show for one row. */
  of(rows) {
    return this.#view.of(this.#classifier, rows);
  }

  show(found) {
    this.#view.show(found);
  }

  clear() {
    this.#view.clear();
  }
}

/** One label of several, or any number of them, with a bar for the probability of each. */
class Labels {
  constructor(place, { labels, threshold, signature }) {
    this.labels = labels;
    this.isMany = signature.task === "multilabel";
    this.folds = labels.length > MOST_BARS;
    this.said = element("p", { class: "said", role: "status" });
    const isBinary = threshold !== null && !this.isMany; // then it is about the second label
    const marked = this.isMany || (isBinary && threshold !== 0.5);
    this.bars = labels.map((label, at) => {
      return new Bar(String(label), marked && !(isBinary && at === 0) ? threshold : null);
    });
    this.list = element("ol", { class: "bars" });
    place.replaceChildren(this.said, this.list);
    if (this.folds) {
      this.rest = element("ol", { class: "bars" });
      this.summary = element("summary");
      place.append(element("details", {}, this.summary, this.rest));
    }
    if (marked) {
      place.append(element("p", { class: "small" }, `The line is the threshold, ${threshold}.`));
    }
    this.clear();
  }

  async of(classifier, rows) {
    const [probabilities] = await classifier.predictProba(rows);
    const [answer] = await classifier.predict(rows);
    return { probabilities, chosen: new Set(this.isMany ? answer : [answer]) };
  }

  show({ probabilities, chosen }) {
    const said = this.labels.filter((label) => chosen.has(label)).join(", ");
    const which = this.labels.findIndex((label) => chosen.has(label));
    this.said.replaceChildren(element("strong", {}, said || (this.isMany ? "none" : "(empty)")));
    if (!this.isMany) this.said.append(` ${percent(probabilities[which])}`);
    this.bars.forEach((bar, at) => bar.show(probabilities[at], chosen.has(this.labels[at])));
    const order = probabilities.map((_, at) => at);
    if (this.folds) order.sort((a, b) => probabilities[b] - probabilities[a] || a - b);
    this.#place(order);
    if (this.folds && !this.isMany) {
      const rest = order.slice(SHOWN).reduce((sum, at) => sum + probabilities[at], 0);
      this.summary.append(`, together ${percent(rest)}`);
    }
  }

  clear() {
    this.said.replaceChildren("–");
    for (const bar of this.bars) bar.clear();
    this.#place(this.bars.map((_, at) => at));
  }

  /** Put the bars where they belong; those that are there already stay. */
  #place(order) {
    const shown = this.folds ? order.slice(0, SHOWN) : order;
    placed(this.list, shown.map((at) => this.bars[at].element));
    if (!this.folds) return;
    placed(this.rest, order.slice(SHOWN).map((at) => this.bars[at].element));
    this.summary.textContent = `${order.length - SHOWN} other labels`;
  }
}

function placed(list, elements) {
  const same = list.children.length === elements.length;
  if (!same || elements.some((each, at) => list.children[at] !== each)) list.replaceChildren(...elements);
}

class Bar {
  constructor(label, threshold) {
    this.fill = element("span", { class: "fill" });
    this.value = element("span", { class: "value" });
    const track = element("span", { class: "track", "aria-hidden": "true" }, this.fill);
    if (threshold !== null) {
      const line = element("span", { class: "threshold" });
      line.style.left = `${100 * threshold}%`;
      track.append(line);
    }
    const name = element("span", { class: "label", title: label }, label);
    this.element = element("li", {}, name, track, this.value);
  }

  show(probability, isChosen) {
    this.fill.style.transform = `scaleX(${probability})`;
    this.value.textContent = percent(probability);
    this.element.classList.toggle("chosen", isChosen);
  }

  clear() {
    this.fill.style.transform = "scaleX(0)";
    this.value.textContent = "";
    this.element.classList.remove("chosen");
  }
}

/** A label for each token. */
class Tokens {
  constructor(place) {
    this.list = element("ol", { class: "tokens", role: "status" });
    place.replaceChildren(this.list);
    this.clear();
  }

  async of(classifier, rows) {
    const { labels, probabilities } = await classifier.predictWithProbability(rows);
    const { data } = classifier.takesText && typeof rows[0] === "string"
      ? await classifier.encode(rows)
      : { data: rows[0] };
    return { ids: Array.from(data), labels: Array.from(labels[0]), probabilities: probabilities[0] };
  }

  show({ ids, labels, probabilities }) {
    this.list.replaceChildren(
      ...labels.map((label, at) =>
        element(
          "li",
          { title: percent(probabilities[at]) },
          element("span", { class: "token" }, String(ids[at])),
          element("strong", {}, String(label)),
          element("span", { class: "value" }, percent(probabilities[at])),
        ),
      ),
    );
  }

  clear() {
    this.list.replaceChildren(element("li", { class: "none" }, "–"));
  }
}

/** Numbers, each with its name. */
class Numbers {
  constructor(place, { labels }) {
    this.values = labels.map(() => element("dd"));
    const pairs = labels.map((label, at) => [element("dt", {}, String(label)), this.values[at]]);
    place.replaceChildren(element("dl", { class: "numbers", role: "status" }, ...pairs.flat()));
    this.clear();
  }

  async of(classifier, rows) {
    return Array.from((await classifier.predictLogits(rows)).data);
  }

  show(numbers) {
    numbers.forEach((number, at) => (this.values[at].textContent = short(number)));
  }

  clear() {
    for (const value of this.values) value.textContent = "–";
  }
}
