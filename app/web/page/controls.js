// Controls: what the form shows besides its values: hints, swatches, and what cannot be combined.

import { all, element, one } from "./elements.js";
import { WRITABLE } from "./download.js";
import { isMoved } from "./options.js";
import { PRESETS } from "./presets.js";

const SWATCHES = { White: "#ffffff", Black: "#16181a", Grey: "#d9d9d6", Sand: "#e9dcc5", Sky: "#bcd9ee", Mint: "#c4e6d5", Rose: "#f3c8c8" };

/** Fill the parts of the form that have many similar elements; `onChange` is called for a chosen colour. */
export function startControls(onChange) {
  const presets = Object.entries(PRESETS).map(([value, { title }]) => element("option", { value }, title));
  presets[0].defaultSelected = true;
  one("#preset").append(...presets);
  for (const [name, colour] of Object.entries(SWATCHES)) {
    const swatch = element("button", { type: "button", className: "swatch", title: name, attributes: { "aria-label": name } });
    swatch.style.setProperty("--colour", colour);
    swatch.addEventListener("click", () => {
      one("#colour").value = colour;
      onChange();
    });
    one("#swatches").append(swatch);
  }
}

/** Return the preset that is chosen. */
export function chosenPreset() {
  return PRESETS[one("#preset").value] ?? PRESETS.none;
}

/** Show what belongs to the current choice, and disable what cannot be combined with it. */
export function updateControls(form, { options, endpoint }) {
  const background = form.elements.background.value;
  const preset = chosenPreset();
  for (const part of all("[data-when-background]", form)) part.hidden = part.dataset.whenBackground !== background;
  for (const output of all("output", form)) output.textContent = output.parentElement.querySelector("input").value;
  one("#colour-swatch").style.setProperty("--colour", one("#colour").value);
  const isPlaced = Boolean(preset.width);
  for (const control of all("#placing input, #placing select", form)) control.disabled = isPlaced || endpoint === "mask";
  one("[name=margin]", form).disabled = isPlaced || endpoint === "mask" || !one("[name=crop]", form).checked;
  one("[name=shadow_opacity]", form).disabled = one("[name=shadow]", form).value === "none";
  one("#preset-hint").hidden = !isPlaced;
  one("#preset-hint").textContent = isPlaced
    ? `The API has no canvas size, so this page lays the cutout on ${preset.width} × ${preset.height} px and writes the file.`
    : "";
  const blurIsOut = isPlaced || isMoved(options) || "region" in options;
  one("#blur-hint").hidden = !(background === "blur" && blurIsOut);
  one("#jpeg-hint").hidden = !(options.format === "jpeg" && background === "transparent" && endpoint === "cutout" && !isPlaced);
  limitFormats(form, isPlaced, endpoint);
}

// A browser writes fewer formats than the server, and a mask has no alpha for a ZIP.
function limitFormats(form, isPlaced, endpoint) {
  const format = one("[name=format]", form);
  for (const option of format.options) {
    option.disabled = isPlaced ? !(option.value in WRITABLE) : endpoint === "mask" && ["zip", "auto"].includes(option.value);
  }
  if (format.selectedOptions[0]?.disabled) format.value = "png";
}
