// curl: the request as a command of a POSIX shell.

import { KEY_VARIABLE } from "./request.js";

/** @param {import("./request.js").Request} request */
export function curl({ url, fields, files, needsKey, output }) {
  const lines = [`curl --fail-with-body ${shell(url)}`];
  if (needsKey) lines.push(`-H "X-Api-Key: $${KEY_VARIABLE}"`);
  for (const [name, , fileName] of files) lines.push(`-F ${shell(`${name}=@"${escaped(fileName)}"`)}`);
  for (const [name, value] of fields) lines.push(`--form-string ${shell(`${name}=${value}`)}`);
  lines.push(`-o ${shell(output)}`);
  return lines.join(" \\\n  ");
}

const escaped = (name) => name.replace(/[\\"]/g, "\\$&"); // within curl's own quotes
const shell = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`);
