// Queue list: one row for each picture, with its state in words and what can be done about it.

import { announce, element, one } from "./elements.js";
import { originalOf } from "./layers.js";

const THUMBNAIL_PX = 96;

export class QueueList {
  #rows = new Map();

  /** @param {import("./studio.js").Studio} studio */
  constructor(studio) {
    this.studio = studio;
    this.list = one("#queue");
    studio.addEventListener("list", () => this.#arrange());
    studio.addEventListener("select", () => this.#mark());
    studio.addEventListener("change", ({ detail }) => this.#update(detail));
    setInterval(() => studio.pictures.filter(({ state }) => state === "working").forEach((each) => this.#update(each)), 200);
  }

  #arrange() {
    const { pictures } = this.studio;
    for (const [picture, row] of this.#rows) {
      if (pictures.includes(picture)) continue;
      row.item.remove();
      this.#rows.delete(picture);
    }
    for (const picture of pictures) {
      if (this.#rows.has(picture)) continue;
      this.#rows.set(picture, this.#makeRow(picture));
      this.list.append(this.#rows.get(picture).item);
      this.#update(picture);
    }
    this.#mark();
  }

  #makeRow(picture) {
    const thumbnail = element("canvas", { width: THUMBNAIL_PX, height: THUMBNAIL_PX, attributes: { "aria-hidden": "true" } });
    const state = element("span", { className: "state" });
    const bar = element("progress", { max: 1, attributes: { "aria-label": `Progress of ${picture.name}` } });
    const select = element(
      "button",
      { type: "button", className: "pick", data: { name: picture.name } },
      thumbnail,
      element("span", { className: "texts" }, element("span", { className: "name" }, picture.name), state),
    );
    const retry = element("button", { type: "button", className: "small" }, "Try again");
    const remove = element("button", { type: "button", className: "icon", attributes: { "aria-label": `Remove ${picture.name}` } }, "×");
    select.addEventListener("click", () => this.studio.select(picture));
    retry.addEventListener("click", () => this.studio.process(picture));
    remove.addEventListener("click", () => this.#remove(picture));
    const item = element("li", {}, select, retry, remove, bar);
    return { item, select, state, bar, retry, thumbnail, said: "" };
  }

  #remove(picture) {
    const at = this.studio.pictures.indexOf(picture);
    this.studio.remove(picture);
    const next = this.studio.pictures[Math.min(at, this.studio.pictures.length - 1)];
    (this.#rows.get(next)?.select ?? one("[data-pick]")).focus(); // the focused row is gone
  }

  #update(picture) {
    const row = this.#rows.get(picture);
    if (!row) return;
    row.item.dataset.state = picture.state;
    row.state.textContent = stateText(picture);
    row.retry.hidden = picture.state !== "failed";
    row.bar.hidden = !["uploading", "working", "pausing"].includes(picture.state);
    if (picture.state === "uploading") row.bar.value = picture.fraction;
    else row.bar.removeAttribute("value"); // the server does not report how far it is
    if (!row.hasThumbnail && picture.upload) void this.#drawThumbnail(picture, row);
    this.#say(picture, row);
    this.#count();
  }

  #say(picture, row) {
    if (row.said === picture.state) return;
    row.said = picture.state;
    if (["done", "failed", "pausing"].includes(picture.state)) announce(`${picture.name}: ${stateText(picture)}`);
  }

  async #drawThumbnail(picture, row) {
    row.hasThumbnail = true;
    const bitmap = await originalOf(picture);
    if (!bitmap) return;
    const factor = Math.max(THUMBNAIL_PX / bitmap.width, THUMBNAIL_PX / bitmap.height);
    const [width, height] = [bitmap.width * factor, bitmap.height * factor];
    const context = row.thumbnail.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(bitmap, (THUMBNAIL_PX - width) / 2, (THUMBNAIL_PX - height) / 2, width, height);
  }

  #mark() {
    for (const [picture, { select }] of this.#rows) {
      if (picture === this.studio.selected) select.setAttribute("aria-current", "true");
      else select.removeAttribute("aria-current");
    }
    this.#count();
  }

  #count() {
    const { pictures } = this.studio;
    const done = pictures.filter(({ state }) => state === "done").length;
    const failed = pictures.filter(({ state }) => state === "failed").length;
    one("#queue-count").textContent = `${done} of ${pictures.length} done${failed ? `, ${failed} failed` : ""}`;
  }
}

function stateText(picture) {
  const { state, result, problem } = picture;
  if (state === "waiting") return "Waiting";
  if (state === "uploading") return `Uploading, ${Math.round(picture.fraction * 100)} %`;
  if (state === "working") return `Working, ${((performance.now() - picture.startedMs) / 1000).toFixed(1)} s`;
  if (state === "pausing") return `The server is busy: trying again in ${picture.waitS} s`;
  if (state === "failed") return problem.message;
  const { totalMs, label } = result?.report ?? {};
  const empty = label === "no_foreground" ? "No clear subject" : label === "uncertain" ? "Done, unsure" : "Done";
  return totalMs ? `${empty} in ${seconds(totalMs)}` : empty;
}

const seconds = (ms) => (ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`);
