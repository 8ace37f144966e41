// Python: the request with httpx.

import { KEY_VARIABLE, quoted } from "./request.js";

/** @param {import("./request.js").Request} request */
export function httpx({ url, fields, files, needsKey, output }) {
  const parts = files.map(([name, , fileName]) => `    ${quoted(name)}: Path(${quoted(fileName)}).open("rb"),`);
  const options = fields.map(([name, value]) => `    ${quoted(name)}: ${quoted(value)},`);
  const data = options.length ? `\ndata = {\n${options.join("\n")}\n}` : "";
  const headers = needsKey ? `, headers={"X-Api-Key": os.environ["${KEY_VARIABLE}"]}` : "";
  return `${needsKey ? "import os\n" : ""}from pathlib import Path

import httpx

files = {
${parts.join("\n")}
}${data}
response = httpx.post(${quoted(url)}, files=files${options.length ? ", data=data" : ""}${headers}, timeout=60)
if response.is_error:
    raise SystemExit(response.json()["detail"])
Path(${quoted(output)}).write_bytes(response.content)`;
}
