// Placement: where the subject lies on the canvas, as `app/imaging/layout/placement.py` computes it on the server.

const BOX_ALPHA_THRESHOLD = 8;

/** Return the box of the pixels of a canvas with an alpha of 8 or more, `null` without any. */
export function subjectBox(canvas) {
  const { width, height } = canvas;
  const { data } = canvas.getContext("2d", { willReadFrequently: true }).getImageData(0, 0, width, height);
  const box = { left: width, top: height, right: 0, bottom: 0 };
  for (let y = 0, index = 3; y < height; y += 1) {
    for (let x = 0; x < width; x += 1, index += 4) {
      if (data[index] < BOX_ALPHA_THRESHOLD) continue;
      if (x < box.left) box.left = x;
      if (x >= box.right) box.right = x + 1;
      if (y < box.top) box.top = y;
      box.bottom = y + 1;
    }
  }
  return box.right === 0 ? null : box;
}

/**
 * Return the size of the canvas and the rectangles of the subject in the picture and on the canvas.
 *
 * @param {{width: number, height: number}} size - Of the picture.
 * @param {object|null} box - Of the subject.
 * @param {object} options - Of the API.
 * @param {object} preset - One of `PRESETS`.
 */
export function place(size, box, options, preset) {
  const { width, height } = size;
  const whole = { left: 0, top: 0, right: width, bottom: height };
  if (preset.width) return placeOnPreset(box ?? whole, preset);
  const isMoved = "crop" in options || "scale" in options || "position" in options;
  if (!box || !isMoved) return { width, height, source: whole, target: whole };
  const boxWidth = box.right - box.left;
  const boxHeight = box.bottom - box.top;
  if ("crop" in options) {
    const [top, right, bottom, left] = margins(options.margin ?? "0", boxWidth, boxHeight);
    const target = { left, top, right: left + boxWidth, bottom: top + boxHeight };
    return { width: target.right + right, height: target.bottom + bottom, source: box, target };
  }
  const scale = "scale" in options ? parseFloat(options.scale) / 100 : null;
  const factor = scale === null ? 1 : scale * Math.min(width / boxWidth, height / boxHeight);
  const newWidth = Math.min(width, Math.max(1, Math.floor(boxWidth * factor + 0.5)));
  const newHeight = Math.min(height, Math.max(1, Math.floor(boxHeight * factor + 0.5)));
  const at = position(options.position ?? (scale === null ? "original" : "center"));
  const left = at ? Math.floor((width - newWidth) * at[0] + 0.5) : box.left;
  const top = at ? Math.floor((height - newHeight) * at[1] + 0.5) : box.top;
  return { width, height, source: box, target: { left, top, right: left + newWidth, bottom: top + newHeight } };
}

function placeOnPreset(box, { width, height, fraction, down }) {
  const factor = Math.min((width * fraction) / (box.right - box.left), (height * fraction) / (box.bottom - box.top));
  const newWidth = Math.round((box.right - box.left) * factor);
  const newHeight = Math.round((box.bottom - box.top) * factor);
  const left = Math.round((width - newWidth) / 2);
  const top = Math.round((height - newHeight) * down);
  return { width, height, source: box, target: { left, top, right: left + newWidth, bottom: top + newHeight } };
}

function margins(text, width, height) {
  const words = text.split(/\s+/);
  const [top, right, bottom, left] =
    words.length === 1 ? [words[0], words[0], words[0], words[0]] : words.length === 2 ? [...words, ...words] : words;
  return [pixels(top, height), pixels(right, width), pixels(bottom, height), pixels(left, width)];
}

function pixels(length, whole) {
  const value = parseFloat(length) || 0;
  return Math.floor((length?.endsWith("%") ? (value * whole) / 100 : value) + 0.5);
}

function position(text) {
  if (text === "original") return null;
  if (text === "center") return [0.5, 0.5];
  const parts = text.split(/\s+/).map((part) => parseFloat(part) / 100);
  return [parts[0], parts.at(-1)];
}
