// Scene: what the stage shows of one picture, as canvases of one size.

import { canvasOf, encodeCanvas } from "./elements.js";
import { compose, greyOf, placedOriginal } from "./compose.js";
import { backdropOf, cutoutOf, originalOf } from "./layers.js";
import { place } from "./placement.js";

/**
 * @typedef {object} Choice
 * @property {object} options - Of the API.
 * @property {string} endpoint - `cutout` or `mask`.
 * @property {object} preset - One of `PRESETS`.
 * @property {File|null} backdrop
 */

/**
 * Return the canvases `before` (null if the browser cannot read the file), `after` and `mask`.
 *
 * @param {import("./picture.js").Picture} picture
 * @param {Choice} choice
 */
export async function sceneOf(picture, choice) {
  const original = await originalOf(picture);
  if (!picture.result) return { before: original && canvasFrom(original), after: null, mask: null };
  const { canvas: matte, box } = await cutoutOf(picture.result);
  if (picture.result.endpoint === "mask") return maskScene(original, matte);
  const placement = place(matte, box, choice.options, choice.preset);
  const backdrop = await backdropOf(choice.backdrop);
  const after = compose({ cutout: matte, original, backdrop }, placement, choice.options);
  const isShrunk = original && (original.width !== matte.width || original.height !== matte.height);
  const fitting = isShrunk ? resized(original, matte) : original;
  const { background: _, shadow: __, ...plain } = choice.options;
  return {
    before: fitting && placedOriginal(fitting, placement),
    after,
    mask: greyOf(compose({ cutout: matte }, placement, { ...plain, channels: "auto" })),
  };
}

/** Return what the brushes paint on: the whole picture, faint where it is removed. */
export async function brushScene(picture) {
  const original = await originalOf(picture);
  const { canvas: matte } = await cutoutOf(picture.result);
  const canvas = canvasOf(matte.width, matte.height);
  const context = canvas.getContext("2d");
  if (original) {
    context.globalAlpha = 0.35;
    context.drawImage(original, 0, 0, matte.width, matte.height);
    context.globalAlpha = 1;
  }
  context.drawImage(matte, 0, 0);
  return canvas;
}

/** Return the pixels of the upright picture per pixel of its matte, which `megapixels` makes smaller. */
export async function strokeFactor(picture) {
  const original = await originalOf(picture);
  const { canvas: matte } = await cutoutOf(picture.result);
  return original ? original.width / matte.width : 1;
}

/** Return the alpha of a result as a grey PNG, the way the API takes a mask. */
export async function alphaOf(result) {
  const { canvas } = await cutoutOf(result);
  return encodeCanvas(result.endpoint === "mask" ? canvas : greyOf(canvas));
}

function maskScene(original, matte) {
  const before = original && canvasFrom(original);
  const after = original ? resized(matte, original) : matte; // a mask of the network's size is stretched
  return { before, after, mask: after };
}

function canvasFrom(picture) {
  return resized(picture, picture);
}

function resized(picture, { width, height }) {
  const canvas = canvasOf(width, height);
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, 0, 0, width, height);
  return canvas;
}
