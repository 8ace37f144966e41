// Elements: finds and makes elements of the page. Texts are set as text, never as HTML.

export const one = (selector, root = document) => root.querySelector(selector);
export const all = (selector, root = document) => [...root.querySelectorAll(selector)];

/** Make an element with properties, `data` attributes and children. */
export function element(tag, { data = {}, attributes = {}, ...properties } = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  Object.assign(made.dataset, data);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** Make a canvas of a size in pixels. */
export function canvasOf(width, height) {
  return element("canvas", { width: Math.max(1, Math.round(width)), height: Math.max(1, Math.round(height)) });
}

/** Encode a canvas; rejects if the browser cannot. */
export function encodeCanvas(canvas, type = "image/png", quality = 0.92) {
  return new Promise((resolve, reject) => {
    canvas.toBlob(
      (blob) => (blob?.type === type ? resolve(blob) : reject(new Error(`This browser cannot write ${type}.`))),
      type,
      quality,
    );
  });
}

/** Say something to screen readers. */
export function announce(text) {
  one("#announcer").textContent = text;
}
