// Intake: pictures by drop, paste, file picker, camera or sample.

import { all, announce, one } from "./elements.js";

/** Connect every way in; `onFiles` gets a list of files with their names. */
export function startIntake(onFiles) {
  const take = (files) => {
    const pictures = [...files].filter(isPicture).map((file) => ({ file, name: file.name || "picture.png" }));
    if (pictures.length) onFiles(pictures);
    else announce("There is no picture among these files.");
  };
  startPickers(take);
  startDrop(take);
  document.addEventListener("paste", (event) => {
    if (!event.clipboardData?.files.length) return;
    event.preventDefault();
    take(event.clipboardData.files);
  });
  for (const button of all("[data-sample]")) {
    button.addEventListener("click", async () => {
      const blob = await (await fetch(button.dataset.sample)).blob();
      onFiles([{ file: new File([blob], button.dataset.name, { type: blob.type }), name: button.dataset.name }]);
    });
  }
}

// The bytes decide on the server; here only what is surely something else is left out.
function isPicture(file) {
  return file.type === "" || file.type.startsWith("image/");
}

function startPickers(take) {
  for (const [selector, input] of [["[data-pick]", one("#picker")], ["[data-camera]", one("#camera")]]) {
    for (const button of all(selector)) button.addEventListener("click", () => input.click());
    input.addEventListener("change", () => {
      take(input.files);
      input.value = "";
    });
  }
}

function startDrop(take) {
  const veil = one("#drop-veil");
  let depth = 0; // of elements that the pointer has entered
  const show = (isOver) => {
    depth = isOver ? depth : 0;
    veil.hidden = !isOver;
  };
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  window.addEventListener("dragenter", (event) => {
    if (!hasFiles(event)) return;
    depth += 1;
    show(true);
  });
  window.addEventListener("dragleave", () => {
    depth -= 1;
    if (depth <= 0) show(false);
  });
  window.addEventListener("dragover", (event) => hasFiles(event) && event.preventDefault());
  window.addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    show(false);
    take(event.dataTransfer.files);
  });
}
