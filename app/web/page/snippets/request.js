// Request: what the snippets of every language share.

/**
 * @typedef {object} Request
 * @property {string} url
 * @property {[string, string][]} fields - Options.
 * @property {[string, Blob, string][]} files - Name of the part, content, file name.
 * @property {boolean} needsKey
 * @property {string} output - Name of the file to write.
 */

/** Quote a text with double quotes, as JavaScript, Python, Swift and Kotlin read it. */
export const quoted = (text) => JSON.stringify(text);

/** The name of the environment variable that holds the key; the key itself is never shown. */
export const KEY_VARIABLE = "CUTOUT_KEY";
