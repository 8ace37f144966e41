// Stage: shows one picture in one of its views, with zoom, loupe and brush.

import { all, announce, one } from "./elements.js";
import { Brush } from "./brush.js";
import { Loupe } from "./loupe.js";
import { brushScene, sceneOf } from "./scene.js";
import { Zoom } from "./zoom.js";

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export class Stage {
  #drawing = 0;
  #shown = null; // the canvas that the loupe enlarges
  #keyPoint = null;
  #view = "compare";
  picture = null;
  choice = null;

  constructor(onStroke) {
    this.zoom = new Zoom();
    this.loupe = new Loupe();
    this.brush = new Brush(onStroke);
    this.compare = one("#compare");
    this.flat = one("#flat");
    this.ink = one("#ink");
    for (const button of all("[data-view]")) button.addEventListener("click", () => this.show(button.dataset.view));
    for (const button of all("[data-brush]")) button.addEventListener("click", () => this.take(button.dataset.brush));
    one("#loupe-toggle").addEventListener("click", () => this.#toggleLoupe());
    const viewport = one("#viewport");
    viewport.addEventListener("keydown", (event) => this.#onKey(event));
    viewport.addEventListener("pointermove", (event) => this.#onPointer(event));
    viewport.addEventListener("pointerleave", () => this.loupe.hide());
    this.#startCompare();
  }

  /** Show a view. */
  show(view) {
    this.#view = view;
    this.take(null);
  }

  /** Take a brush in hand, or put it away: with null, or if it is the one in hand. */
  take(kind) {
    this.brush.kind = kind === this.brush.kind ? null : kind;
    for (const button of all("[data-brush]")) {
      button.setAttribute("aria-pressed", String(button.dataset.brush === this.brush.kind));
    }
    for (const button of all("[data-view]")) {
      button.setAttribute("aria-pressed", String(!this.brush.kind && button.dataset.view === this.#view));
    }
    one("#brush-help").hidden = !this.brush.kind;
    if (this.brush.kind) announce(`${this.brush.kind} brush, ${this.brush.width} pixels`);
    this.refresh();
  }

  /** Draw a picture with a choice of options. */
  async draw(picture, choice) {
    this.picture = picture;
    this.choice = choice;
    await this.refresh();
  }

  async refresh() {
    if (!this.picture) return;
    this.#drawing += 1;
    const drawing = this.#drawing;
    one("#viewport").setAttribute("aria-busy", "true");
    const isPainting = Boolean(this.brush.kind && this.picture.result);
    const scene = isPainting ? { after: await brushScene(this.picture) } : await sceneOf(this.picture, this.choice);
    if (drawing !== this.#drawing) return; // a newer one has begun
    const view = isPainting ? "brush" : this.#possible(scene);
    if (view === "compare") this.#showBoth(scene);
    else this.#showFlat(view, scene);
    this.#describe(view, scene);
    one("#viewport").setAttribute("aria-busy", "false");
  }

  // Returns the chosen view, or the nearest one that this picture has.
  #possible(scene) {
    if (!scene.after) return "original";
    if (!scene.before && ["compare", "original"].includes(this.#view)) return "cutout";
    return this.#view;
  }

  #showBoth({ before, after }) {
    this.zoom.sheet.hidden = false;
    this.compare.hidden = false;
    this.flat.hidden = true;
    this.ink.hidden = true;
    copy(before, one("#before"));
    copy(after, one("#after"));
    this.#shown = one("#after");
    this.zoom.show(after);
  }

  #showFlat(view, { before, after, mask }) {
    const canvas = { cutout: after, mask, original: before, brush: after }[view];
    this.compare.hidden = true;
    this.flat.hidden = !canvas;
    this.ink.hidden = view !== "brush";
    this.#shown = canvas && this.flat;
    this.zoom.sheet.hidden = !canvas;
    if (!canvas) {
      this.loupe.hide();
      return;
    }
    copy(canvas, this.flat);
    this.zoom.show(canvas);
    if (view !== "brush") return;
    this.brush.fit(canvas, this.zoom.scale);
    this.brush.clear();
  }

  #describe(view, scene) {
    const note = one("#stage-note");
    const isUnreadable = !scene.before && view !== "brush";
    const hasNoResult = !scene.after;
    this.zoom.sheet.dataset.view = view;
    this.flat.setAttribute("aria-label", `${view === "brush" ? "To correct" : view}: ${this.picture.name}`);
    this.compare.setAttribute("aria-label", `Before and after: ${this.picture.name}`);
    note.hidden = !isUnreadable;
    if (isUnreadable) {
      note.textContent = hasNoResult
        ? "This browser cannot show this file."
        : "This browser cannot show the original, only the result.";
    }
  }

  #startCompare() {
    const value = () => this.compare.setAttribute("aria-valuenow", String(Math.round(this.compare.value)));
    this.compare.addEventListener("slide", value);
    this.compare.addEventListener("keydown", (event) => {
      const ends = { Home: 0, End: 100 };
      if (!(event.key in ends)) return;
      event.preventDefault();
      this.compare.value = ends[event.key];
      value();
    });
  }

  #toggleLoupe() {
    this.loupe.toggle();
    this.#keyPoint = null;
    announce(this.loupe.isOn ? "Loupe on; the arrow keys move it" : "Loupe off");
    if (this.loupe.isOn) this.#moveLoupe(0, 0);
  }

  #moveLoupe(across, down) {
    if (!this.#shown) return;
    const { width, height } = this.#shown;
    const from = this.#keyPoint ?? { x: width / 2, y: height / 2 };
    const clamp = (value, most) => Math.min(most, Math.max(0, value));
    this.#keyPoint = { x: clamp(from.x + across, width), y: clamp(from.y + down, height) };
    this.zoom.reveal(this.#keyPoint);
    this.loupe.show(this.#shown, this.#keyPoint, this.zoom.scale);
  }

  #onPointer(event) {
    if (!this.loupe.isOn || !this.#shown) return;
    const { left, top } = one("#sheet").getBoundingClientRect();
    this.#keyPoint = { x: (event.clientX - left) / this.zoom.scale, y: (event.clientY - top) / this.zoom.scale };
    this.loupe.show(this.#shown, this.#keyPoint, this.zoom.scale);
  }

  #onKey(event) {
    if (event.ctrlKey || event.metaKey) return;
    const simple = {
      "+": () => this.zoom.by(1.4), "=": () => this.zoom.by(1.4), "-": () => this.zoom.by(1 / 1.4),
      0: () => this.zoom.fit(), l: () => this.#toggleLoupe(),
    }[event.key];
    if (simple) simple();
    else if (this.brush.kind && event.key === " ") this.brush.isDown ? this.brush.lift() : this.brush.putDown(event.altKey);
    else if (event.key in ARROWS && event.target !== this.compare) this.#onArrow(event);
    else return;
    if (event.key in ARROWS && !this.brush.kind && !this.loupe.isOn) return; // scrolls the viewport
    if (!(event.key in ARROWS && event.target === this.compare)) event.preventDefault();
  }

  #onArrow(event) {
    const [across, down] = ARROWS[event.key];
    const step = (event.shiftKey ? 40 : 8) / this.zoom.scale;
    if (this.brush.kind) this.zoom.reveal(this.brush.move(across * step, down * step));
    else if (this.loupe.isOn) this.#moveLoupe(across * step, down * step);
  }
}

function copy(source, target) {
  target.width = source.width;
  target.height = source.height;
  target.getContext("2d").drawImage(source, 0, 0);
}
