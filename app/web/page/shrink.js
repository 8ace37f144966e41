// Shrink: makes a picture smaller in the browser, only after the server has refused it as too large.

import { canvasOf, encodeCanvas } from "./elements.js";

const KINDS = ["upload-too-large", "picture-too-large", "request-too-large"];
const JPEG = "image/jpeg";
const STEPS = 6;

/** Return whether a problem is one that a smaller picture solves. */
export const isTooLarge = (problem) => KINDS.includes(problem.kind);

/**
 * Return a smaller copy of a file.
 *
 * @param {Blob} file
 * @param {import("./problem.js").Problem} problem - It has the limit that the file exceeds.
 * @returns {Promise<{blob: Blob, extension: string, note: string}>}
 */
export async function shrink(file, problem) {
  const bitmap = await createImageBitmap(file).catch(() => {
    throw problem; // this browser cannot read the file
  });
  const { limit_px: maxPixels, limit_side_px: maxSide, limit_bytes: limitBytes, needed_bytes: neededBytes } = problem.facts;
  const maxBytes = neededBytes ? undefined : limitBytes;
  const { width, height } = bitmap;
  let factor = Math.min(
    1,
    maxPixels ? Math.sqrt(maxPixels / (width * height)) : 1,
    maxSide ? maxSide / Math.max(width, height) : 1,
    neededBytes ? Math.sqrt(limitBytes / neededBytes) * 0.95 : 1, // memory grows with the pixels
  );
  for (let step = 0; step < STEPS; step += 1) {
    const canvas = canvasOf(Math.floor(width * factor), Math.floor(height * factor));
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    const type = file.type !== JPEG && hasTransparency(canvas) ? "image/png" : JPEG;
    const blob = await encodeCanvas(canvas, type);
    const overhead = 4096; // of the form around it
    if (!maxBytes || blob.size + overhead <= maxBytes) {
      bitmap.close();
      return { blob, extension: type === JPEG ? "jpg" : "png", note: noteOf(sizeText(width, height), canvas, problem) };
    }
    factor *= Math.min(0.9, Math.sqrt((maxBytes - overhead) / blob.size) * 0.95);
  }
  throw problem;
}

function hasTransparency(canvas) {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  for (let index = 3; index < data.length; index += 4) if (data[index] < 255) return true;
  return false;
}

const sizeText = (width, height) => `${width} × ${height}`;

function noteOf(before, canvas, problem) {
  const after = sizeText(canvas.width, canvas.height);
  const change = before === after ? `encoded again at ${after} px` : `shrunk from ${before} to ${after} px`;
  return `This picture was ${change} in your browser, because it is over the server’s limit: ${problem.message}`;
}
