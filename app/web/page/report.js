// Report: what the server says about one result, from the headers of its response.

/** The steps of the server in plain words; other names are shown as they are. */
export const STEPS = {
  receive: "Receive", admit: "Check", decode: "Decode", prepare: "Prepare", batch: "Wait for the network",
  infer: "Network", refine: "Network again", matte: "Edge", strokes: "Strokes", compose: "Compose", encode: "Encode",
};

export const VERDICTS = {
  ok: "A clear subject.",
  uncertain: "The network is not sure about parts of this picture: look at the edges, and correct them with the brushes.",
  no_foreground: "No clear subject: the mask is empty.",
};

/** The warnings of `docs/warnings.md` in plain words. */
export const WARNINGS = {
  first_frame_only: "The file is animated; only its first frame was used.",
  exif_ignored: "The file’s EXIF block is broken, so the picture may lie on its side.",
  icc_ignored: "The colour profile is broken and was ignored; colours may be off.",
  colours_ignored: "The file’s colour description is invalid; colours may be off.",
  tone_mapped: "The picture has a high dynamic range; bright parts were compressed.",
  crop_ignored: "The file’s crop is invalid; the whole picture was used.",
  transparency_ignored: "The file’s transparency is broken; the picture was taken as opaque.",
  end_marker_missing: "The file lacks its end, but has all pixels.",
  data_damaged: "Parts of the file are damaged; look for grey or shifted areas.",
  hq_cut_short: "High-quality matting ran out of time; the result is its last iteration.",
  strokes_cut_short: "Correcting ran out of time: the strokes are obeyed, but their surroundings may not follow.",
};

/**
 * @typedef {object} Report
 * @property {string} verdict - In plain words.
 * @property {string} label - The verdict's own name.
 * @property {string[]} warnings - In plain words.
 * @property {{name: string, ms: number}[]} steps - In the order of the server.
 * @property {string} model
 * @property {string} provider
 * @property {string} precision - `none` if no network ran.
 * @property {string|null} subject - The box of the subject, if it was asked for.
 * @property {number} tookMs - Seen from the page.
 * @property {number} totalMs - On the server.
 */

/** Read the headers of a response. @returns {Report} */
export function readReport(headers, tookMs) {
  const steps = timings(headers.get("Server-Timing") ?? "");
  const label = headers.get("X-Cutout-Verdict") ?? "";
  const codes = (headers.get("X-Cutout-Warnings") ?? "").split(",").map((code) => code.trim()).filter(Boolean);
  return {
    label,
    verdict: VERDICTS[label] ?? label,
    warnings: codes.map((code) => WARNINGS[code] ?? code),
    steps: steps.filter((step) => step.name !== "total"),
    totalMs: steps.find((step) => step.name === "total")?.ms ?? 0,
    model: headers.get("X-Cutout-Model") ?? "",
    provider: (headers.get("X-Cutout-Provider") ?? "").replace("ExecutionProvider", ""),
    precision: headers.get("X-Cutout-Precision") ?? "",
    subject: headers.get("X-Cutout-Subject"),
    tookMs,
  };
}

function timings(text) {
  return [...text.matchAll(/([\w-]+);dur=([\d.]+)/g)].map(([, name, ms]) => ({ name, ms: Number(ms) }));
}
