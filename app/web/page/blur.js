// Blur: a wide Gaussian blur in constant time, by three box blurs of a small copy of the canvas.

import { canvasOf } from "./elements.js";

const SMALL_SIGMA = 4; // of the copy, in its own pixels

/** Return a blurred copy of a canvas; `sigma` is in its pixels. Borders are continued outwards. */
export function blurred(canvas, sigma) {
  const factor = Math.min(1, SMALL_SIGMA / sigma);
  const small = canvasOf(canvas.width * factor, canvas.height * factor);
  const context = small.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(canvas, 0, 0, small.width, small.height);
  const pixels = context.getImageData(0, 0, small.width, small.height);
  context.putImageData(blurPixels(pixels, Math.max(1, Math.round(sigma * factor))), 0, 0);
  const large = canvasOf(canvas.width, canvas.height);
  const enlarging = large.getContext("2d");
  enlarging.imageSmoothingQuality = "high";
  enlarging.drawImage(small, 0, 0, large.width, large.height);
  return large;
}

function blurPixels(pixels, radius) {
  const { width, height, data } = pixels;
  let values = premultiplied(data);
  for (let pass = 0; pass < 3; pass += 1) {
    values = boxBlur(values, width, height, radius, 4, 4 * width);
    values = boxBlur(values, height, width, radius, 4 * width, 4);
  }
  for (let index = 0; index < data.length; index += 4) {
    const alpha = values[index + 3];
    for (let channel = 0; channel < 3; channel += 1) {
      data[index + channel] = alpha > 0 ? (values[index + channel] * 255) / alpha : 0;
    }
    data[index + 3] = alpha;
  }
  return pixels;
}

function premultiplied(data) {
  const values = new Float32Array(data.length);
  for (let index = 0; index < data.length; index += 4) {
    for (let channel = 0; channel < 3; channel += 1) values[index + channel] = (data[index + channel] * data[index + 3]) / 255;
    values[index + 3] = data[index + 3];
  }
  return values;
}

// Blurs `lines` lines of `length` pixels, whose neighbours are `step` values apart.
function boxBlur(values, length, lines, radius, step, lineStep) {
  const result = new Float32Array(values.length);
  const size = 2 * radius + 1;
  const at = (start, index) => start + Math.min(length - 1, Math.max(0, index)) * step;
  for (let line = 0; line < lines; line += 1) {
    for (let channel = 0; channel < 4; channel += 1) {
      const start = line * lineStep + channel;
      let sum = 0;
      for (let index = -radius; index <= radius; index += 1) sum += values[at(start, index)];
      for (let index = 0; index < length; index += 1) {
        result[start + index * step] = sum / size;
        sum += values[at(start, index + radius + 1)] - values[at(start, index - radius)];
      }
    }
  }
  return result;
}
