// Call: what is sent to the server for one picture. The page sends it, and the code panel shows the same.

import { matteOptions } from "./options.js";

/**
 * @typedef {object} Call
 * @property {string} path - Relative to the page.
 * @property {[string, string][]} fields - Options.
 * @property {[string, Blob, string][]} files - Name of the part, content, file name.
 */

/** Return the call for the matte alone, on which the page composes everything else. */
export function matteCall(picture, options, endpoint, correction) {
  return build(picture, matteOptions(options), endpoint, correction);
}

/** Return the call for the file to download. */
export function resultCall(picture, options, endpoint, correction, backdrop) {
  const { background, ...others } = options;
  const isPicture = background === "picture";
  const call = build(picture, isPicture ? others : options, endpoint, correction);
  if (isPicture && backdrop) call.files.push(["background", backdrop, backdrop.name || "background.png"]);
  return call;
}

/** Return whether two calls ask for the same bytes. */
export function isSame(first, second) {
  return (
    first.path === second.path &&
    JSON.stringify(first.fields) === JSON.stringify(second.fields) &&
    first.files.length === second.files.length &&
    first.files.every(([name, blob], index) => name === second.files[index][0] && blob === second.files[index][1])
  );
}

/** Return the body of a call. */
export function formOf(call) {
  const form = new FormData();
  for (const [name, blob, fileName] of call.files) form.append(name, blob, fileName);
  for (const [name, value] of call.fields) form.append(name, value);
  return form;
}

function build(picture, options, endpoint, correction) {
  const files = [["image", picture.upload, picture.uploadName]];
  const fields = Object.entries(options);
  if (correction?.mask) files.push(["mask", correction.mask, "mask.png"]);
  if (correction?.strokes.length) fields.push(["strokes", JSON.stringify(correction.strokes)]);
  return { path: `v1/${endpoint}`, fields, files };
}
