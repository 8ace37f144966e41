// Zoom: the size of the sheet in the viewport; panning is the viewport's own scrolling, or a drag.

import { announce, one } from "./elements.js";

const STEP = 1.4;
const MAX_ZOOM = 16;
const MAX_ENLARGED = 3; // of a small picture that fits

export class Zoom {
  #size = { width: 1, height: 1 };
  #factor = 1;

  constructor() {
    this.viewport = one("#viewport");
    this.sheet = one("#sheet");
    one("#zoom-in").addEventListener("click", () => this.by(STEP));
    one("#zoom-out").addEventListener("click", () => this.by(1 / STEP));
    one("#zoom-fit").addEventListener("click", () => this.fit());
    this.viewport.addEventListener("wheel", (event) => this.#onWheel(event), { passive: false });
    new ResizeObserver(() => this.#apply()).observe(this.viewport);
    this.#startDragging();
  }

  /** Screen pixels per pixel of the picture. */
  get scale() {
    return this.#fitting() * this.#factor;
  }

  /** Use the size of another picture. */
  show({ width, height }) {
    const isSame = width === this.#size.width && height === this.#size.height;
    this.#size = { width, height };
    if (!isSame) this.#factor = 1;
    this.#apply();
  }

  by(factor) {
    this.#factor = Math.min(MAX_ZOOM, Math.max(1, this.#factor * factor));
    this.#apply();
    announce(`Zoom ${Math.round(this.scale * 100)} per cent`);
  }

  fit() {
    this.by(0);
  }

  /** Scroll so that a point of the picture is visible. */
  reveal({ x, y }) {
    const { viewport, sheet } = this;
    const [left, top] = [sheet.offsetLeft + x * this.scale, sheet.offsetTop + y * this.scale];
    const within = (value, start, length) => value >= start + 24 && value <= start + length - 24;
    if (!within(left, viewport.scrollLeft, viewport.clientWidth)) viewport.scrollLeft = left - viewport.clientWidth / 2;
    if (!within(top, viewport.scrollTop, viewport.clientHeight)) viewport.scrollTop = top - viewport.clientHeight / 2;
  }

  #fitting() {
    const { clientWidth, clientHeight } = this.viewport;
    return Math.min(MAX_ENLARGED, (clientWidth - 32) / this.#size.width, (clientHeight - 32) / this.#size.height);
  }

  #apply() {
    const { viewport, sheet } = this;
    const middle = [
      (viewport.scrollLeft + viewport.clientWidth / 2) / Math.max(1, viewport.scrollWidth),
      (viewport.scrollTop + viewport.clientHeight / 2) / Math.max(1, viewport.scrollHeight),
    ];
    sheet.style.setProperty("width", `${Math.max(8, this.#size.width * this.scale)}px`);
    sheet.style.setProperty("aspect-ratio", `${this.#size.width} / ${this.#size.height}`);
    viewport.scrollLeft = middle[0] * viewport.scrollWidth - viewport.clientWidth / 2;
    viewport.scrollTop = middle[1] * viewport.scrollHeight - viewport.clientHeight / 2;
    viewport.toggleAttribute("data-zoomed", this.#factor > 1);
    one("#zoom-value").textContent = `${Math.round(this.scale * 100)} %`;
  }

  #onWheel(event) {
    if (!event.ctrlKey && !event.metaKey) return; // a plain wheel scrolls
    event.preventDefault();
    this.by(event.deltaY < 0 ? STEP : 1 / STEP);
  }

  #startDragging() {
    this.viewport.addEventListener("pointerdown", (event) => {
      if (event.pointerType !== "mouse" || event.button !== 0 || event.target.id !== "flat") return;
      const from = { x: event.clientX + this.viewport.scrollLeft, y: event.clientY + this.viewport.scrollTop };
      const move = (moved) => this.viewport.scrollTo(from.x - moved.clientX, from.y - moved.clientY);
      window.addEventListener("pointermove", move);
      window.addEventListener("pointerup", () => window.removeEventListener("pointermove", move), { once: true });
    });
  }
}
