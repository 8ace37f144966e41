// Options: the choices in the form, by the names of the API; only those that differ from its defaults.

import { one } from "./elements.js";

const MASK_OPTIONS = ["model", "format", "quality", "clean", "refine", "require_foreground", "matting", "size", "threshold"];
const OF_A_MASK_ONLY = ["size"];
/** Options that change the matte, so that the network or the matting must run again. */
const OF_THE_MATTE = ["model", "matting", "haze", "refine", "clean", "threshold", "region", "megapixels", "report_box", "require_foreground", "size"];

/** Return the options that differ from the defaults, by name. */
export function readOptions(form) {
  const chosen = {};
  for (const control of form.elements) {
    if (!control.name || control.matches("fieldset") || !isChanged(control)) continue;
    chosen[control.name] = control.value.trim();
  }
  if (chosen.background === "colour") chosen.background = one("#colour").value;
  return forEndpoint(chosen, endpointOf(form));
}

/** Return which of the two results is wanted: `cutout` or `mask`. */
export function endpointOf(form) {
  return one("#endpoint", form).value;
}

/** Return the options on which the matte depends. */
export function matteOptions(options) {
  return Object.fromEntries(Object.entries(options).filter(([name]) => OF_THE_MATTE.includes(name)));
}

/** Return whether the subject does not stay in its place. */
export function isMoved(options) {
  return options.crop !== undefined || "scale" in options || "position" in options;
}

function isChanged(control) {
  if (control.type === "radio") return control.checked && !control.defaultChecked;
  if (control.type === "checkbox") return control.checked;
  if (control.tagName === "SELECT") return !control.selectedOptions[0]?.defaultSelected;
  return control.value.trim() !== control.defaultValue && control.value.trim() !== "";
}

function forEndpoint(chosen, endpoint) {
  const fits = (name) => (endpoint === "mask" ? MASK_OPTIONS.includes(name) : !OF_A_MASK_ONLY.includes(name));
  return Object.fromEntries(Object.entries(chosen).filter(([name]) => fits(name)));
}
