// Key: the API key, kept in the session storage of this tab, and the dialog that asks for it.

import { one } from "./elements.js";

const STORED = "cutout.key";
const dialog = one("#key-dialog");
const reason = one("#key-reason");
const usual = reason.textContent;

/** Return the headers that authenticate a request. */
export function keyHeaders() {
  const key = sessionStorage.getItem(STORED);
  return key ? { "X-Api-Key": key } : {};
}

export const hasKey = () => Boolean(sessionStorage.getItem(STORED));

/** Open the dialog, once, with the reason why a key is needed. */
export function askForKey(why = usual) {
  reason.textContent = why;
  if (!dialog.open) dialog.showModal();
}

/** Connect the dialog; `onKey` is called when the key has changed. */
export function startKey(onKey) {
  one("#open-key").addEventListener("click", () => askForKey());
  one("#close-key").addEventListener("click", () => dialog.close());
  one("#key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const key = one("#key").value.trim();
    if (key) sessionStorage.setItem(STORED, key);
    else sessionStorage.removeItem(STORED);
    one("#key").value = "";
    dialog.close();
    onKey();
  });
}
