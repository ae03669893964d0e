// Asks the model while one types: at most one question runs, and of those that wait the last wins.

const PAUSE = 60; // milliseconds without a change before the model is asked

export class Asking {
  #classifier;
  #answer;
  #error;
  #timer;
  #waiting;
  #running = false;

  constructor(classifier, answer, error) {
    this.#classifier = classifier;
    this.#answer = answer;
    this.#error = error;
  }

  /**
   * Ask soon, unless something else is asked before.
   *
   * @param {() => unknown[] | null} read gives one row, in a list; null where there is no input, and
   *   it may throw what is wrong with it.
   */
  ask(read) {
    this.#waiting = read;
    this.#answer.isBusy(true);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#run(), PAUSE);
  }

  async #run() {
    if (this.#running) return; // which looks again when it is done
    this.#running = true;
    while (this.#waiting) {
      const read = this.#waiting;
      this.#waiting = undefined; // whatever comes from now on is asked next
      await this.#show(read);
    }
    this.#running = false;
    this.#answer.isBusy(false);
  }

  async #show(read) {
    const cut = this.#classifier.truncated;
    try {
      const rows = read();
      const found = rows && (await this.#answer.of(rows));
      if (this.#waiting) return; // of something that is no longer there
      const isCut = this.#classifier.truncated > cut;
      this.#error.textContent = isCut ? "The text is longer than the model takes; it was cut." : "";
      if (found) this.#answer.show(found);
      else this.#answer.clear();
      if (found) performance.mark("answer");
    } catch (error) {
      if (this.#waiting) return;
      this.#error.textContent = error.reason ?? error.message;
      this.#answer.clear();
    }
  }
}
