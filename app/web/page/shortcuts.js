// Shortcuts: keys that work anywhere on the page, but not while one types.

import { one } from "./elements.js";

/** @param {{stage: import("./stage.js").Stage, undo: () => void, redo: () => void}} actions */
export function startShortcuts({ stage, undo, redo }) {
  document.addEventListener("keydown", (event) => {
    if (isTyping(event.target) || one("#key-dialog").open) return;
    const isCommand = event.ctrlKey || event.metaKey;
    const key = event.key.toLowerCase();
    if (isCommand && key === "z" && !event.shiftKey) undo();
    else if (isCommand && (key === "y" || (key === "z" && event.shiftKey))) redo();
    else if (isCommand) return;
    else if (event.key === "[" || event.key === "]") stage.brush.resize(event.key === "]");
    else if (event.key === "Escape" && stage.brush.kind) stage.take(null);
    else if (event.key === "Alt" && stage.brush.kind) return event.preventDefault(); // would open the browser's menu
    else return;
    event.preventDefault();
  });
}

function isTyping(target) {
  return target.matches?.("input:not([type=range], [type=radio], [type=checkbox], [type=color]), textarea");
}
