// Problem: an error in the server's own words (RFC 9457), or that there is no response.

export class Problem extends Error {
  /**
   * @param {object} parts
   * @param {number} parts.status - 0 without a response.
   * @param {string} parts.detail - A sentence for people.
   * @param {string} [parts.kind] - The slug of the problem's type.
   * @param {object} [parts.facts] - All members of the problem.
   * @param {number|null} [parts.retryAfterS] - When to try again, if the server says so.
   */
  constructor({ status, detail, kind = "", facts = {}, retryAfterS = null }) {
    super(detail);
    Object.assign(this, { status, kind, facts, retryAfterS });
  }

  /** Whether the same request may succeed at a time that the server named. */
  get isTemporary() {
    return this.retryAfterS !== null && [409, 429, 503].includes(this.status);
  }
}

/** Read the problem in a response. */
export function problemOf(status, text, retryAfter) {
  const retryAfterS = /^\d+$/.test(retryAfter ?? "") ? Number(retryAfter) : null;
  try {
    const facts = JSON.parse(text);
    const kind = String(facts.type ?? "").split("/").at(-1);
    return new Problem({ status, detail: facts.detail ?? facts.title, kind, facts, retryAfterS });
  } catch {
    return new Problem({ status, detail: `The server responded with status ${status}.`, retryAfterS });
  }
}
