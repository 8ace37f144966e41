// Models: the networks of this server, with their licences.

import { askForKey } from "./key.js";
import { element, one } from "./elements.js";
import { getJson } from "./send.js";

const licences = new Map();
let byDefault = "";

/** Fill the list of models; asks for a key if the server wants one. */
export async function loadModels() {
  try {
    showModels(await getJson("v1/models"));
  } catch (problem) {
    if (problem.status === 401) askForKey(`${problem.message} It stays in this tab and is forgotten when you close it.`);
    one("#server").textContent = problem.message ?? "The server cannot be reached.";
  }
}

/** Show the licence of the chosen model. */
export function showLicence() {
  const chosen = one("[name=model]").value || byDefault;
  const known = licences.get(chosen);
  one("#licence").textContent = known ?? (chosen ? "Loaded by the first request for it, which takes longer." : "");
}

/** Return what a person should know of a model: what it is for, its licence, and how fast it is here. */
function describe({ purpose, license, authors, commercial, run_ms: runMs }) {
  const use = commercial ? ` Commercial use: ${commercial}.` : "";
  const fastest = Math.min(...Object.entries(runMs ?? {}).map(([size, ms]) => ms / size));
  const speed = Number.isFinite(fastest) ? ` Its network takes ${inWords(fastest)} a picture here.` : "";
  return `${purpose ? `${purpose}. ` : ""}Licence ${license}, by ${authors}.${use}${speed}`;
}

function inWords(milliseconds) {
  return milliseconds < 1000 ? `${Math.max(1, Math.round(milliseconds))} ms` : `${(milliseconds / 1000).toFixed(1)} s`;
}

function showModels({ default: name, models, on_request: onRequest }) {
  const select = one("[name=model]");
  byDefault = name;
  for (const model of models) licences.set(model.name, describe(model));
  const others = [...models.map((model) => model.name), ...onRequest].filter((each) => each !== name);
  select.replaceChildren(
    element("option", { value: "", defaultSelected: true, selected: true }, `${name} (default)`),
    ...others.map((each) => element("option", { value: each }, each)),
  );
  const provider = models[0]?.provider?.replace("ExecutionProvider", "") ?? "";
  one("#server").textContent = provider === "CPU" ? `${name} on a CPU: a picture takes a second or more` : `${name} on ${provider}`;
  showLicence();
}
