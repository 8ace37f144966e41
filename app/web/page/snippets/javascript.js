// JavaScript: the request with fetch, for a web page.

import { quoted } from "./request.js";

/** @param {import("./request.js").Request} request */
export function javascript({ url, fields, files, needsKey, output }) {
  const parts = files.map(([name, , fileName]) => `form.append(${quoted(name)}, ${variable(name)}); // ${fileName}, a File or a Blob`);
  const options = fields.map(([name, value]) => `form.append(${quoted(name)}, ${quoted(value)});`);
  const headers = needsKey ? ', headers: { "X-Api-Key": key }' : "";
  return `const form = new FormData();
${[...parts, ...options].join("\n")}

const response = await fetch(${quoted(url)}, { method: "POST", body: form${headers} });
if (!response.ok) throw new Error((await response.json()).detail);
const result = await response.blob();

const link = document.createElement("a");
link.href = URL.createObjectURL(result);
link.download = ${quoted(output)};
link.click();`;
}

const variable = (name) => ({ image: "file", mask: "mask", background: "backdrop" })[name] ?? name;
