// Studio: sends pictures to the server, two at a time, and keeps their results; knows nothing of the page.

import { matteCall } from "./call.js";
import { matteOptions } from "./options.js";
import { Picture } from "./picture.js";
import { Problem } from "./problem.js";
import { readReport } from "./report.js";
import { alphaOf, strokeFactor } from "./scene.js";
import { send } from "./send.js";
import { isTooLarge, shrink } from "./shrink.js";
import { Slots } from "./slots.js";

/** Dispatches `change` (detail: a picture), `list` (the queue) and `select`. */
export class Studio extends EventTarget {
  #slots = new Slots(2);
  #strokes = new Map(); // by picture: strokes that are not sent yet
  pictures = [];
  selected = null;

  /** @param {() => import("./scene.js").Choice} readChoice */
  constructor(readChoice) {
    super();
    this.readChoice = readChoice;
  }

  /** Add files to the queue and begin. */
  add(files) {
    const added = files.map(({ file, name }) => new Picture(file, name));
    this.pictures.push(...added);
    this.#tell("list");
    if (!this.selected && added.length) this.select(added[0]);
    for (const picture of added) void this.process(picture);
  }

  select(picture) {
    this.selected = picture;
    this.#tell("select", picture);
    if (this.isStale(picture)) void this.process(picture, { isFirst: true });
  }

  remove(picture) {
    picture.aborter?.abort();
    this.#strokes.delete(picture);
    this.pictures = this.pictures.filter((each) => each !== picture);
    this.#tell("list");
    if (this.selected === picture) this.select(this.pictures[0] ?? null);
  }

  /** Return whether a picture's result was made with other options of the matte. */
  isStale(picture) {
    return Boolean(picture) && picture.state === "done" && picture.result?.key !== this.#key();
  }

  /** Make the matte of a picture with the current options. */
  process(picture, { isFirst = false } = {}) {
    const merged = picture.result?.correction ? picture.result.allStrokes : [];
    const correction = merged.length ? { mask: null, strokes: merged } : null;
    return this.#request(picture, correction, (result) => picture.restart(result), isFirst);
  }

  /** Correct the picture by a stroke; strokes that come meanwhile are sent together afterwards. */
  async correct(picture, stroke) {
    const waiting = this.#strokes.get(picture);
    if (waiting) {
      waiting.push(stroke);
      return;
    }
    this.#strokes.set(picture, [stroke]);
    while (this.#strokes.get(picture)?.length) {
      const factor = await strokeFactor(picture);
      const strokes = this.#strokes.get(picture).splice(0).map((each) => enlarged(each, factor));
      const mask = await alphaOf(picture.result);
      if (!(await this.#request(picture, { mask, strokes }, (result) => picture.addResult(result), true))) break;
    }
    this.#strokes.delete(picture);
  }

  /** The options have changed: make the selected picture's matte again if it depends on them. */
  update() {
    const picture = this.selected;
    if (!picture) return;
    const isInFlight = ["waiting", "uploading", "working", "pausing"].includes(picture.state);
    if (this.isStale(picture) || (isInFlight && picture.requestKey !== this.#key())) void this.process(picture, { isFirst: true });
  }

  /** Whether requests are in flight or wait. */
  get isBusy() {
    return this.pictures.some(({ state }) => !["done", "failed"].includes(state));
  }

  /** Show an earlier or a later result; returns whether there is one. */
  step(picture, by) {
    if (!picture?.results[picture.at + by]) return false;
    picture.at += by;
    this.#tell("change", picture);
    return true;
  }

  /** Send any call for a picture, with its progress shown; shrinks the picture if the server asks for it. */
  async exchange(picture, makeCall, { isFirst = false } = {}) {
    picture.aborter?.abort();
    const aborter = new AbortController();
    picture.aborter = aborter;
    this.#set(picture, { state: "waiting", problem: null });
    const hooks = {
      onUpload: (fraction) => this.#set(picture, { state: "uploading", fraction }),
      onWork: () => this.#set(picture, { state: "working", startedMs: performance.now() }),
      onWait: (waitS, problem) => this.#set(picture, { state: "pausing", waitS, problem }),
    };
    try {
      const response = await this.#slots.run(() => this.#sendFitting(picture, makeCall, hooks, aborter.signal), { isFirst });
      this.#set(picture, { state: "done", problem: null });
      return response;
    } catch (error) {
      if (aborter.signal.aborted) return null; // removed, or replaced by a newer request
      this.fail(picture, error);
      return null;
    }
  }

  /** Mark a picture as failed, with the words of the error. */
  fail(picture, error) {
    const problem = error instanceof Problem ? error : new Problem({ status: 0, detail: String(error.message ?? error) });
    this.#set(picture, { state: "failed", problem });
  }

  async #request(picture, correction, keep, isFirst) {
    const { options, endpoint } = this.readChoice();
    const key = this.#key();
    picture.requestKey = key;
    const earlier = correction?.mask ? picture.result.allStrokes : [];
    let call = null;
    const makeCall = () => (call = matteCall(picture, options, endpoint, correction));
    const response = await this.exchange(picture, makeCall, { isFirst });
    if (!response) return false;
    keep({
      blob: response.blob,
      call,
      correction,
      endpoint,
      allStrokes: [...earlier, ...(correction?.strokes ?? [])],
      key,
      report: readReport(response.headers, response.tookMs),
    });
    this.#tell("change", picture);
    if (picture === this.selected && this.isStale(picture)) void this.process(picture, { isFirst: true });
    return true;
  }

  async #sendFitting(picture, makeCall, hooks, signal) {
    signal.throwIfAborted();
    try {
      return await send(makeCall(), hooks, signal);
    } catch (problem) {
      if (!isTooLarge(problem) || picture.note) throw problem;
      const { blob, extension, note } = await shrink(picture.file, problem);
      picture.upload = blob;
      picture.uploadName = picture.name.replace(/\.[^.]{1,5}$/, "") + `.${extension}`;
      picture.note = note;
      return send(makeCall(), hooks, signal);
    }
  }

  #key() {
    const { options, endpoint } = this.readChoice();
    return JSON.stringify([endpoint, matteOptions(options)]);
  }

  #set(picture, changes) {
    Object.assign(picture, changes);
    this.#tell("change", picture);
  }

  #tell(type, detail = null) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

function enlarged({ kind, width, points }, factor) {
  return { kind, width: Math.round(width * factor), points: points.map(([x, y]) => [Math.round(x * factor), Math.round(y * factor)]) };
}
