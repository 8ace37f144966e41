// Compose: draws the cutout as the server would lay it out, with its shadow and its background.

import { blurred } from "./blur.js";
import { canvasOf } from "./elements.js";

const SHADOW_BLUR = 0.025; // of the subject's height, as in app/imaging/layout/arrange.py
const SHADOW_DROP = 0.03;
const BACKDROP_BLUR = 0.03; // of the picture's longer side

/**
 * Return a canvas with the composed result.
 *
 * @param {object} layers - `cutout` (canvas), `original` (bitmap or null), `backdrop` (bitmap or null).
 * @param {object} placement - From `place`.
 * @param {object} options - Of the API.
 */
export function compose({ cutout, original, backdrop }, placement, options) {
  const canvas = canvasOf(placement.width, placement.height);
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  if (options.channels === "alpha") {
    context.drawImage(greyOf(placed(cutout, placement)), 0, 0);
    return canvas;
  }
  drawBackground(context, canvas, { original, backdrop }, options.background ?? "transparent");
  const subject = placed(cutout, placement);
  if (options.shadow === "drop") drawShadow(context, subject, placement.target, Number(options.shadow_opacity ?? 50) / 100);
  context.drawImage(subject, 0, 0);
  return canvas;
}

/** Return the original as it lies under the composed result. */
export function placedOriginal(original, placement) {
  const { source, target } = placement;
  const canvas = canvasOf(placement.width, placement.height);
  const context = canvas.getContext("2d");
  const across = (target.right - target.left) / (source.right - source.left);
  const down = (target.bottom - target.top) / (source.bottom - source.top);
  context.imageSmoothingQuality = "high";
  context.setTransform(across, 0, 0, down, target.left - source.left * across, target.top - source.top * down);
  context.drawImage(original, 0, 0);
  return canvas;
}

/** Return the alpha of a canvas as opaque grey. */
export function greyOf(canvas) {
  const grey = canvasOf(canvas.width, canvas.height);
  const context = grey.getContext("2d");
  const pixels = canvas.getContext("2d", { willReadFrequently: true }).getImageData(0, 0, canvas.width, canvas.height);
  const { data } = pixels;
  for (let index = 0; index < data.length; index += 4) {
    data.fill(data[index + 3], index, index + 3);
    data[index + 3] = 255;
  }
  context.putImageData(pixels, 0, 0);
  return grey;
}

/** Draw a picture so that it covers a canvas, cropped equally on both sides. */
export function drawCover(context, picture, width, height) {
  const factor = Math.max(width / picture.width, height / picture.height);
  const [across, down] = [picture.width * factor, picture.height * factor];
  context.drawImage(picture, (width - across) / 2, (height - down) / 2, across, down);
}

function placed(cutout, { width, height, source, target }) {
  const canvas = canvasOf(width, height);
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(
    cutout,
    source.left, source.top, source.right - source.left, source.bottom - source.top,
    target.left, target.top, target.right - target.left, target.bottom - target.top,
  );
  return canvas;
}

function drawBackground(context, canvas, { original, backdrop }, background) {
  const { width, height } = canvas;
  if (background === "transparent") return;
  if (background === "picture") {
    if (!backdrop) return;
    context.fillStyle = "#fff"; // the server lays a backdrop's transparent parts over white too
    context.fillRect(0, 0, width, height);
    drawCover(context, backdrop, width, height);
  } else if (background === "blur") {
    if (!original) return;
    const copy = canvasOf(width, height);
    copy.getContext("2d").drawImage(original, 0, 0, width, height);
    context.drawImage(blurred(copy, BACKDROP_BLUR * Math.max(width, height)), 0, 0);
  } else {
    context.fillStyle = background;
    context.fillRect(0, 0, width, height);
  }
}

function drawShadow(context, subject, target, opacity) {
  const height = target.bottom - target.top;
  const shape = canvasOf(subject.width, subject.height);
  const drawing = shape.getContext("2d");
  drawing.drawImage(subject, 0, Math.round(SHADOW_DROP * height));
  drawing.globalCompositeOperation = "source-in";
  drawing.fillStyle = "#000";
  drawing.fillRect(0, 0, shape.width, shape.height);
  context.save();
  context.globalAlpha = opacity;
  context.drawImage(blurred(shape, Math.max(0.5, SHADOW_BLUR * height)), 0, 0);
  context.restore();
}
