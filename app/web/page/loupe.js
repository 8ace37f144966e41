// Loupe: a part of the picture, enlarged, at the pointer or at the point that the arrow keys move.

import { one } from "./elements.js";

const MAGNIFIED = 4; // screen pixels per pixel of the picture, at least
const SQUARE = 10; // of the checkerboard

export class Loupe {
  #canvas = one("#loupe");
  isOn = false;

  toggle(isOn = !this.isOn) {
    this.isOn = isOn;
    one("#loupe-toggle").setAttribute("aria-pressed", String(isOn));
    if (!isOn) this.#canvas.hidden = true;
  }

  hide() {
    this.#canvas.hidden = true;
  }

  /**
   * Show the surroundings of a point.
   *
   * @param {HTMLCanvasElement} source - What is shown.
   * @param {{x: number, y: number}} point - In its pixels.
   * @param {number} scale - Screen pixels per pixel of the source.
   */
  show(source, point, scale) {
    if (!this.isOn || !source) return;
    const { width, height } = this.#canvas;
    const magnified = Math.max(MAGNIFIED, scale * 3);
    const context = this.#canvas.getContext("2d");
    drawCheckerboard(context, width, height);
    context.imageSmoothingEnabled = false;
    const [across, down] = [width / magnified, height / magnified];
    context.drawImage(source, point.x - across / 2, point.y - down / 2, across, down, 0, 0, width, height);
    drawCross(context, width, height);
    this.#canvas.hidden = false;
    this.#place(point, scale);
  }

  #place(point, scale) {
    const sheet = one("#sheet");
    const viewport = one("#viewport");
    const [x, y] = [sheet.offsetLeft + point.x * scale, sheet.offsetTop + point.y * scale];
    const isRight = x - viewport.scrollLeft > viewport.clientWidth / 2;
    const isLow = y - viewport.scrollTop > viewport.clientHeight / 2;
    this.#canvas.style.setProperty("left", `${x + (isRight ? -224 : 24)}px`);
    this.#canvas.style.setProperty("top", `${y + (isLow ? -224 : 24)}px`);
  }
}

function drawCheckerboard(context, width, height) {
  for (let y = 0; y < height; y += SQUARE) {
    for (let x = 0; x < width; x += SQUARE) {
      context.fillStyle = (x + y) % (2 * SQUARE) ? "#d5d5d5" : "#fff";
      context.fillRect(x, y, SQUARE, SQUARE);
    }
  }
}

function drawCross(context, width, height) {
  const [x, y] = [width / 2 + 0.5, height / 2 + 0.5];
  for (const [style, thickness] of [["#fff", 3], ["#000", 1]]) {
    context.strokeStyle = style;
    context.lineWidth = thickness;
    context.beginPath();
    context.moveTo(x - 7, y);
    context.lineTo(x + 7, y);
    context.moveTo(x, y - 7);
    context.lineTo(x, y + 7);
    context.stroke();
  }
}
