// Brush: paints strokes over the picture, by pointer or by keys, in pixels of the upright picture.

import { announce, one } from "./elements.js";

const COLOURS = { keep: "#1fbf9a", remove: "#ff4d5e" };
const FINER = 1.2; // of one press of [ or ]
const TOLERANCE = 0.75; // screen pixels by which a simplified stroke may differ

export class Brush {
  #ink = one("#ink");
  #size = one("#brush-size");
  #stroke = null;
  #point = null;
  #scale = 1;
  kind = null;

  /** @param {(stroke: object) => void} onStroke - Called with each finished stroke. */
  constructor(onStroke) {
    this.onStroke = onStroke;
    this.#ink.addEventListener("pointerdown", (event) => this.#onDown(event));
    this.#ink.addEventListener("pointermove", (event) => this.#onMove(event));
    this.#ink.addEventListener("pointerup", () => this.lift());
    this.#ink.addEventListener("pointercancel", () => this.#cancel());
    this.#ink.addEventListener("pointerleave", () => this.#stroke ?? this.#draw());
    this.#size.addEventListener("input", () => this.#draw());
  }

  /** The diameter, in pixels of the picture. */
  get width() {
    return Math.max(1, Math.round(Number(this.#size.value)));
  }

  /** Fit the layer of ink to a picture; `scale` is in screen pixels per pixel of it. */
  fit({ width, height }, scale) {
    this.#scale = scale;
    if (this.#ink.width === width && this.#ink.height === height) return;
    this.#ink.width = width;
    this.#ink.height = height;
    const side = Math.max(width, height);
    this.#size.max = String(Math.max(20, Math.round(side / 4)));
    this.#size.value = String(Math.max(4, Math.round(side / 25)));
    this.#point = { x: width / 2, y: height / 2 };
  }

  resize(isLarger) {
    const changed = Math.round(this.width * (isLarger ? FINER : 1 / FINER));
    this.#size.value = String(changed === this.width ? this.width + (isLarger ? 1 : -1) : changed);
    this.#draw();
    announce(`Brush ${this.width} pixels`);
  }

  get isDown() {
    return this.#stroke !== null;
  }

  /** Move by keys; paints if the brush is down. Returns the new point. */
  move(across, down) {
    const clamp = (value, most) => Math.min(most, Math.max(0, value));
    this.#point = { x: clamp(this.#point.x + across, this.#ink.width), y: clamp(this.#point.y + down, this.#ink.height) };
    this.#stroke?.points.push([this.#point.x, this.#point.y]);
    this.#draw();
    return this.#point;
  }

  /** Put the brush down at its point. */
  putDown(isOther = false) {
    const kind = isOther ? { keep: "remove", remove: "keep" }[this.kind] : this.kind;
    this.#stroke = { kind, width: this.width, points: [[this.#point.x, this.#point.y]] };
    this.#draw();
  }

  /** Lift the brush, which finishes the stroke. */
  lift() {
    if (!this.#stroke) return;
    const { kind, width, points } = this.#stroke;
    this.#stroke = null;
    const simple = simplified(points, TOLERANCE / this.#scale).map(([x, y]) => [Math.round(x), Math.round(y)]);
    this.onStroke({ kind, width, points: simple });
  }

  /** Remove the ink, when the corrected picture is shown. */
  clear() {
    this.#stroke = null;
    this.#context().clearRect(0, 0, this.#ink.width, this.#ink.height);
  }

  #cancel() {
    this.#stroke = null;
    this.#draw();
  }

  #context() {
    return this.#ink.getContext("2d");
  }

  #onDown(event) {
    if (event.button !== 0 || !this.kind) return;
    this.#ink.setPointerCapture(event.pointerId);
    this.#point = this.#pointAt(event);
    this.putDown(event.altKey);
  }

  #onMove(event) {
    for (const each of event.getCoalescedEvents?.() ?? [event]) {
      this.#point = this.#pointAt(each);
      this.#stroke?.points.push([this.#point.x, this.#point.y]);
    }
    this.#point = this.#pointAt(event);
    this.#draw(event.altKey);
  }

  #pointAt(event) {
    const { left, top, width, height } = this.#ink.getBoundingClientRect();
    return {
      x: ((event.clientX - left) / width) * this.#ink.width,
      y: ((event.clientY - top) / height) * this.#ink.height,
    };
  }

  // Draws the stroke so far, and the outline of the brush.
  #draw(isOther = false) {
    if (!this.kind) return;
    const context = this.#context();
    context.clearRect(0, 0, this.#ink.width, this.#ink.height);
    if (this.#stroke) drawStroke(context, this.#stroke);
    const kind = this.#stroke?.kind ?? (isOther ? { keep: "remove", remove: "keep" }[this.kind] : this.kind);
    context.lineWidth = 2 / this.#scale;
    for (const [colour, radius] of [["#fff", this.width / 2 + 1.5 / this.#scale], [COLOURS[kind], this.width / 2]]) {
      context.strokeStyle = colour;
      context.beginPath();
      context.arc(this.#point.x, this.#point.y, radius, 0, 2 * Math.PI);
      context.stroke();
    }
  }
}

function drawStroke(context, { kind, width, points }) {
  context.save();
  context.globalAlpha = 0.55;
  context.strokeStyle = COLOURS[kind];
  context.lineWidth = width;
  context.lineCap = "round";
  context.lineJoin = "round";
  context.beginPath();
  context.moveTo(...points[0]);
  for (const point of points.slice(1)) context.lineTo(...point);
  if (points.length === 1) context.lineTo(points[0][0] + 0.01, points[0][1]);
  context.stroke();
  context.restore();
}

/** Leave out points that are within `tolerance` of the line between others (Douglas and Peucker, 1973). */
export function simplified(points, tolerance) {
  if (points.length < 3) return points;
  const [first, last] = [points[0], points.at(-1)];
  let [furthest, distance] = [0, 0];
  for (let index = 1; index < points.length - 1; index += 1) {
    const from = distanceToLine(points[index], first, last);
    if (from > distance) [furthest, distance] = [index, from];
  }
  if (distance <= tolerance) return [first, last];
  return [...simplified(points.slice(0, furthest + 1), tolerance).slice(0, -1), ...simplified(points.slice(furthest), tolerance)];
}

function distanceToLine([x, y], [x1, y1], [x2, y2]) {
  const lengthSquared = (x2 - x1) ** 2 + (y2 - y1) ** 2;
  const along = lengthSquared ? Math.min(1, Math.max(0, ((x - x1) * (x2 - x1) + (y - y1) * (y2 - y1)) / lengthSquared)) : 0;
  return Math.hypot(x - x1 - along * (x2 - x1), y - y1 - along * (y2 - y1));
}
