// Main: connects the parts of the page.

import "./vendor/img-comparison-slider.js";
import { CodePanel } from "./code.js";
import { chosenPreset, startControls, updateControls } from "./controls.js";
import { announce, one } from "./elements.js";
import { downloadAll, downloadOne } from "./download.js";
import { startIntake } from "./intake.js";
import { askForKey, startKey } from "./key.js";
import { loadModels, showLicence } from "./models.js";
import { endpointOf, readOptions } from "./options.js";
import { QueueList } from "./queue-list.js";
import { showReport } from "./report-view.js";
import { startShortcuts } from "./shortcuts.js";
import { Stage } from "./stage.js";
import { Studio } from "./studio.js";

const form = one("#options");
const readChoice = () => ({
  options: readOptions(form),
  endpoint: endpointOf(form),
  preset: chosenPreset(),
  backdrop: one("#backdrop").files[0] ?? null,
});

const studio = new Studio(readChoice);
const stage = new Stage((stroke) => void studio.correct(studio.selected, stroke));
const code = new CodePanel();
let shown = null; // the result on the stage
let settling = 0;

function showSelected() {
  const picture = studio.selected;
  document.body.toggleAttribute("data-empty", !picture);
  showReport(picture);
  code.show(picture, readChoice());
  one("#undo").disabled = !picture?.results[picture.at - 1];
  one("#redo").disabled = !picture?.results[picture.at + 1];
  one("#download").disabled = !picture?.result || studio.isBusy;
  one("#zip").disabled = !studio.pictures.some(({ result }) => result) || studio.isBusy;
}

async function redraw() {
  const picture = studio.selected;
  shown = picture?.result ?? picture;
  if (picture) await stage.draw(picture, readChoice());
}

function onOptions() {
  const choice = readChoice();
  updateControls(form, choice);
  showLicence();
  code.show(studio.selected, choice);
  void redraw();
  clearTimeout(settling);
  settling = setTimeout(() => studio.update(), 400); // a slider reports every step of the way
}

function step(by, words) {
  if (studio.step(studio.selected, by)) announce(words);
}

async function downloadAllAsZip() {
  const count = await downloadAll(studio);
  announce(count ? `ZIP with ${count} files` : "There is nothing to download.");
}

studio.addEventListener("select", () => { showSelected(); void redraw(); });
studio.addEventListener("list", showSelected);
studio.addEventListener("change", ({ detail: picture }) => {
  if (picture.state === "failed" && picture.problem.status === 401) askForKey(picture.problem.message);
  showSelected();
  if (picture === studio.selected && shown !== (picture.result ?? picture)) void redraw();
});
form.addEventListener("input", onOptions);
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("reset", () => setTimeout(onOptions));
one("#undo").addEventListener("click", () => step(-1, "Undone"));
one("#redo").addEventListener("click", () => step(1, "Redone"));
one("#download").addEventListener("click", () => void downloadOne(studio, studio.selected));
one("#zip").addEventListener("click", () => void downloadAllAsZip());

new QueueList(studio);
startControls(onOptions);
startIntake((files) => studio.add(files));
startShortcuts({ stage, undo: () => step(-1, "Undone"), redo: () => step(1, "Redone") });
startKey(async () => {
  await loadModels();
  for (const picture of studio.pictures) if (picture.problem?.status === 401) void studio.process(picture);
  onOptions();
});
onOptions();
void loadModels();
