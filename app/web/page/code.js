// Code: the panel that shows the current call in several languages.

import { all, element, one } from "./elements.js";
import { resultCall } from "./call.js";
import { hasKey } from "./key.js";
import { save } from "./download.js";
import { curl } from "./snippets/curl.js";
import { httpx } from "./snippets/httpx.js";
import { javascript } from "./snippets/javascript.js";
import { kotlin } from "./snippets/kotlin.js";
import { php } from "./snippets/php.js";
import { swift } from "./snippets/swift.js";

const LANGUAGES = { curl, JavaScript: javascript, Python: httpx, Swift: swift, Kotlin: kotlin, PHP: php };

export class CodePanel {
  #language = "curl";
  #call = null;
  #output = "cutout.png";

  constructor() {
    const tabs = one("#languages");
    for (const name of Object.keys(LANGUAGES)) {
      const tab = element("button", { type: "button", id: `tab-${name}`, attributes: { role: "tab", "aria-controls": "code-panel" } }, name);
      tab.addEventListener("click", () => this.#choose(name));
      tabs.append(tab);
    }
    tabs.addEventListener("keydown", (event) => this.#onKey(event));
    one("#copy").addEventListener("click", () => this.#copy());
    one("#save-mask").addEventListener("click", () => {
      const [, blob, name] = this.#call.files.find(([part]) => part === "mask");
      save(name, blob);
    });
    this.#choose(this.#language);
  }

  /** Show the call for a picture, or for any picture if there is none yet. */
  show(picture, { options, endpoint, preset, backdrop }) {
    const any = { upload: new Blob(), uploadName: "photo.jpg" };
    const chosen = preset.width ? withoutLayout(options) : options;
    this.#call = resultCall(picture ?? any, chosen, endpoint, picture?.result?.correction, backdrop);
    const extension = { jpeg: "jpg", auto: "png" }[chosen.format] ?? chosen.format ?? "png";
    this.#output = picture ? picture.resultName(endpoint, extension) : `photo-${endpoint}.${extension}`;
    one("#code-note").hidden = !preset.width;
    one("#code-note").textContent = preset.width
      ? `This call returns the transparent cutout. The API has no canvas size: this page lays it on ${preset.width} × ${preset.height} px.`
      : "";
    one("#code-mask").hidden = !this.#call.files.some(([part]) => part === "mask");
    this.#render();
  }

  #choose(name) {
    this.#language = name;
    for (const tab of all("#languages [role=tab]")) {
      const isChosen = tab.id === `tab-${name}`;
      tab.setAttribute("aria-selected", String(isChosen));
      tab.tabIndex = isChosen ? 0 : -1;
    }
    one("#code-panel").setAttribute("aria-labelledby", `tab-${name}`);
    this.#render();
  }

  #render() {
    if (!this.#call) return;
    const url = new URL(this.#call.path, document.baseURI).href;
    const request = { url, fields: this.#call.fields, files: this.#call.files, needsKey: hasKey(), output: this.#output };
    one("#code").textContent = LANGUAGES[this.#language](request);
  }

  #onKey(event) {
    const names = Object.keys(LANGUAGES);
    const at = names.indexOf(this.#language);
    const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: names.length - 1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    const name = names[(next + names.length) % names.length];
    this.#choose(name);
    one(`#tab-${name}`).focus();
  }

  async #copy() {
    const button = one("#copy");
    try {
      await navigator.clipboard.writeText(one("#code").textContent);
      button.textContent = "Copied";
    } catch {
      // Without HTTPS a browser has no clipboard for pages: select the text instead.
      getSelection().selectAllChildren(one("#code"));
      button.textContent = "Selected: press Ctrl C";
    }
    setTimeout(() => (button.textContent = "Copy"), 2500);
  }
}

// What the page does itself with a preset.
function withoutLayout(options) {
  const { crop, margin, scale, position, shadow, shadow_opacity, background, format, quality, ...rest } = options;
  return rest;
}
