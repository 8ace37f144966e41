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

function showModels({ default: name, models, on_request: onRequest }) {
  const select = one("[name=model]");
  byDefault = name;
  for (const model of models) licences.set(model.name, `Licence ${model.license}, by ${model.authors}.`);
  const others = [...models.map((model) => model.name), ...onRequest].filter((each) => each !== name);
  select.replaceChildren(
    element("option", { value: "", defaultSelected: true, selected: true }, `${name} (default)`),
    ...others.map((each) => element("option", { value: each }, each)),
  );
  const provider = models[0]?.provider?.replace("ExecutionProvider", "") ?? "";
  one("#server").textContent = provider === "CPU" ? `${name} on a CPU: a picture takes a second or more` : `${name} on ${provider}`;
  showLicence();
}
