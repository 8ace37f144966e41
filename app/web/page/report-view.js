// Report view: the verdict, warnings, step times and problem of the picture that is shown.

import { element, one } from "./elements.js";
import { STEPS } from "./report.js";

const COLOURS = 9; // of style/stage.css

/** Show what is known about a picture. */
export function showReport(picture) {
  const report = picture?.result?.report;
  const problem = picture?.state === "failed" ? picture.problem : null;
  const verdict = one("#verdict");
  verdict.textContent = report ? verdictText(report) : "";
  verdict.dataset.label = report?.label ?? "";
  const notes = [picture?.note, ...(report?.warnings ?? [])].filter(Boolean);
  one("#warnings").replaceChildren(...notes.map((text) => element("li", {}, text)));
  setText(one("#trouble"), problem?.message ?? "");
  showSteps(report);
}

function verdictText(report) {
  const box = report.subject ? ` Subject at ${report.subject} (left, top, right, bottom).` : "";
  return `${report.verdict}${box}`;
}

// Set once, because screen readers repeat an alert whenever it changes.
function setText(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

function showSteps(report) {
  one("#steps").hidden = !report;
  if (!report) return;
  const bar = one("#steps-bar");
  const list = one("#steps-list");
  bar.replaceChildren();
  list.replaceChildren();
  for (const [index, { name, ms }] of report.steps.entries()) {
    const part = element("span", { data: { step: String(index % COLOURS) } });
    part.style.setProperty("flex-grow", String(Math.max(ms, 0.001)));
    bar.append(part);
    const key = element("span", { className: "key", data: { step: String(index % COLOURS) } });
    list.append(element("li", {}, key, `${STEPS[name] ?? name} `, element("b", {}, milliseconds(ms))));
  }
  const precision = ["", "none"].includes(report.precision) ? "" : `, ${report.precision}`;
  const where = report.provider ? ` with ${report.model} on ${report.provider}${precision}` : "";
  list.append(
    element("li", { className: "total" }, "On the server ", element("b", {}, milliseconds(report.totalMs)), where),
    element("li", { className: "total" }, "With upload and download ", element("b", {}, milliseconds(report.tookMs))),
  );
}

const milliseconds = (ms) => (ms < 10 ? `${ms.toFixed(1)} ms` : `${Math.round(ms)} ms`);
