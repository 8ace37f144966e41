// Send: one call to the server, with the progress of the upload; waits and repeats if the server asks for it.

import { formOf } from "./call.js";
import { keyHeaders } from "./key.js";
import { Problem, problemOf } from "./problem.js";

const MAX_TRIES = 6;

/**
 * Send a call, and again after `Retry-After` while the server is busy.
 *
 * @param {import("./call.js").Call} call
 * @param {object} hooks - `onUpload(fraction)`, `onWork()`, `onWait(seconds, problem)`.
 * @param {AbortSignal} signal
 * @returns {Promise<{blob: Blob, headers: Headers, tookMs: number}>}
 */
export async function send(call, hooks, signal) {
  for (let tries = 1; ; tries += 1) {
    try {
      return await post(call, hooks, signal);
    } catch (problem) {
      if (!problem.isTemporary || tries === MAX_TRIES) throw problem;
      await countDown(problem.retryAfterS, (seconds) => hooks.onWait(seconds, problem), signal);
    }
  }
}

/** Fetch JSON of the API. */
export async function getJson(path) {
  const response = await fetch(path, { headers: keyHeaders() });
  if (response.ok) return response.json();
  throw problemOf(response.status, await response.text(), response.headers.get("Retry-After"));
}

// XMLHttpRequest, because fetch does not report the progress of an upload.
function post(call, hooks, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const startedMs = performance.now();
    const abort = () => request.abort();
    const fail = (detail) => reject(new Problem({ status: 0, detail }));
    request.open("POST", call.path);
    request.responseType = "blob";
    for (const [name, value] of Object.entries(keyHeaders())) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => hooks.onUpload(event.loaded / Math.max(1, event.total));
    request.upload.onload = () => hooks.onWork();
    request.onerror = () => fail("There is no response: the server cannot be reached, or closed the connection.");
    request.onabort = () => reject(signal.reason ?? new DOMException("Aborted", "AbortError"));
    request.onloadend = () => signal.removeEventListener("abort", abort);
    request.onload = async () => {
      if (request.status === 200) {
        const tookMs = performance.now() - startedMs;
        resolve({ blob: request.response, headers: headersOf(request), tookMs });
        return;
      }
      const text = await request.response.text();
      reject(problemOf(request.status, text, request.getResponseHeader("Retry-After")));
    };
    if (signal.aborted) {
      reject(signal.reason);
      return;
    }
    signal.addEventListener("abort", abort);
    hooks.onUpload(0);
    request.send(formOf(call));
  });
}

function headersOf(request) {
  const lines = request.getAllResponseHeaders().trim().split(/[\r\n]+/);
  return new Headers(lines.map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 1).trim()]));
}

async function countDown(seconds, onSecond, signal) {
  for (let left = seconds; left > 0; left -= 1) {
    onSecond(left);
    await new Promise((resolve, reject) => {
      const timer = setTimeout(resolve, 1000);
      signal.addEventListener("abort", () => { clearTimeout(timer); reject(signal.reason); }, { once: true });
    });
  }
}
