// Download: the file that the API returns for all current options, for one picture or for all as a ZIP.

import { isSame, resultCall } from "./call.js";
import { canvasOf, element, encodeCanvas } from "./elements.js";
import { compose } from "./compose.js";
import { backdropOf, cutoutOf, originalOf } from "./layers.js";
import { place } from "./placement.js";
import { downloadZip } from "./vendor/client-zip.js";

const EXTENSIONS = {
  "image/png": "png", "image/webp": "webp", "image/jpeg": "jpg", "image/avif": "avif", "application/zip": "zip",
};
/** Formats in which a browser writes a canvas. */
export const WRITABLE = { png: "image/png", webp: "image/webp", jpeg: "image/jpeg", auto: "image/png" };

/**
 * Return the files of one picture: one, or two if the mask was asked for too.
 *
 * @returns {Promise<{name: string, blob: Blob}[]>} Empty if the server refused; the picture has the problem.
 */
export async function filesOf(studio, picture) {
  if (!picture.result) return [];
  if (studio.isStale(picture) && !(await studio.process(picture))) return [];
  const choice = studio.readChoice();
  if (choice.preset.width && choice.endpoint === "cutout") return presetFiles(studio, picture, choice);
  const { options, endpoint, backdrop } = choice;
  const makeCall = () => resultCall(picture, options, endpoint, picture.result.correction, backdrop);
  if (isSame(makeCall(), picture.result.call)) return [named(picture, endpoint, picture.result.blob)];
  const response = await studio.exchange(picture, makeCall, { isFirst: true });
  if (!response) return [];
  return response.blob.type.startsWith("multipart/") ? bothFiles(picture, response.blob) : [named(picture, endpoint, response.blob)];
}

/** Save the result of one picture. */
export async function downloadOne(studio, picture) {
  const files = await filesOf(studio, picture);
  if (files.length === 1) save(files[0].name, files[0].blob);
  if (files.length > 1) save(picture.resultName("cutout-and-mask", "zip"), await zipOf(files));
}

/** Save the results of all pictures as one ZIP; those that fail are left out, and say so in the queue. */
export async function downloadAll(studio) {
  const each = await Promise.all(studio.pictures.map((picture) => filesOf(studio, picture)));
  const files = each.flat();
  if (files.length) save("cutouts.zip", await zipOf(unique(files)));
  return files.length;
}

/** Save a blob under a name. */
export function save(name, blob) {
  const href = URL.createObjectURL(blob);
  const link = element("a", { href, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(href), 60_000);
}

/** Return files with names that differ: the second `a.png` becomes `a-2.png`. */
export function unique(files) {
  const taken = new Set();
  return files.map(({ name, blob }) => {
    const [stem, extension] = [name.replace(/\.[^.]*$/, ""), name.split(".").at(-1)];
    let free = name;
    for (let number = 2; taken.has(free.toLowerCase()); number += 1) free = `${stem}-${number}.${extension}`;
    taken.add(free.toLowerCase());
    return { name: free, blob };
  });
}

function zipOf(files) {
  const lastModified = new Date();
  return downloadZip(files.map(({ name, blob }) => ({ name, input: blob, lastModified }))).blob();
}

function named(picture, kind, blob) {
  return { name: picture.resultName(kind, EXTENSIONS[blob.type] ?? "bin"), blob };
}

async function bothFiles(picture, blob) {
  const form = await new Response(blob, { headers: { "Content-Type": blob.type } }).formData();
  return ["cutout", "mask"].map((kind) => named(picture, kind, form.get(kind)));
}

async function presetFiles(studio, picture, choice) {
  try {
    return [await presetFile(picture, choice)];
  } catch (error) {
    studio.fail(picture, error);
    return [];
  }
}

async function presetFile(picture, { options, preset, backdrop }) {
  const { canvas: cutout, box } = await cutoutOf(picture.result);
  const layers = { cutout, original: await originalOf(picture), backdrop: await backdropOf(backdrop) };
  const composed = compose(layers, place(cutout, box, {}, preset), options);
  const type = WRITABLE[options.format ?? "png"];
  const page = type === "image/jpeg" ? onWhite(composed) : composed;
  const blob = await encodeCanvas(page, type, Number(options.quality ?? 90) / 100);
  return named(picture, "cutout", blob);
}

function onWhite(canvas) {
  const page = canvasOf(canvas.width, canvas.height);
  const context = page.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, page.width, page.height);
  context.drawImage(canvas, 0, 0);
  return page;
}
