// Layers: the pixels of the pictures that were shown last: originals, cutouts and backdrops.

import { canvasOf } from "./elements.js";
import { subjectBox } from "./placement.js";

const KEPT = 6; // a decoded picture takes four bytes a pixel
const kept = new Map();

/** Return the upright original as a bitmap, `null` if this browser cannot read its format. */
export function originalOf(picture) {
  return remember(picture.upload, () => createImageBitmap(picture.upload).catch(() => null));
}

/** Return the matte's canvas, and the subject's box in it. */
export function cutoutOf(result) {
  return remember(result.blob, async () => {
    const bitmap = await createImageBitmap(result.blob);
    const canvas = canvasOf(bitmap.width, bitmap.height);
    canvas.getContext("2d", { willReadFrequently: true }).drawImage(bitmap, 0, 0);
    bitmap.close();
    return { canvas, box: subjectBox(canvas) };
  });
}

/** Return the backdrop as a bitmap, `null` without one or if this browser cannot read it. */
export function backdropOf(file) {
  return file ? remember(file, () => createImageBitmap(file).catch(() => null)) : null;
}

function remember(blob, decode) {
  const decoded = kept.get(blob) ?? decode();
  kept.delete(blob);
  kept.set(blob, decoded); // the last of the map is the newest
  if (kept.size > KEPT) kept.delete(kept.keys().next().value);
  return decoded;
}
