// Slots: at most two requests are in flight at a time; the others wait in order.

export class Slots {
  #free;
  #waiting = [];

  constructor(count = 2) {
    this.#free = count;
  }

  /** Run a task when there is a slot for it; `isFirst` puts it before the others that wait. */
  async run(task, { isFirst = false } = {}) {
    if (this.#free === 0) {
      await new Promise((resolve) => (isFirst ? this.#waiting.unshift(resolve) : this.#waiting.push(resolve)));
    } else {
      this.#free -= 1;
    }
    try {
      return await task();
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#free += 1;
    }
  }
}
