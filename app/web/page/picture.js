// Picture: one file of the queue, its state, and the history of its results.

/**
 * States: `waiting`, `uploading`, `working`, `pausing` (the server asked to wait), `done`, `failed`.
 *
 * A result has `blob` (the PNG of the matte), `correction` (the mask and strokes it was made with), `report`,
 * and `key`, the options it was made with.
 */
export class Picture {
  static #count = 0;

  constructor(file, name) {
    Picture.#count += 1;
    this.id = Picture.#count;
    this.file = file;
    this.name = name;
    this.upload = file; // what is sent: smaller than the file if the server asks for it
    this.uploadName = name;
    this.state = "waiting";
    this.fraction = 0;
    this.waitS = 0;
    this.problem = null;
    this.note = "";
    this.thumbnail = null;
    this.results = [];
    this.at = -1;
    this.aborter = null;
  }

  /** The result that is shown, if there is one. */
  get result() {
    return this.results[this.at] ?? null;
  }

  /** Add a result after the one that is shown; what was undone is forgotten. */
  addResult(result) {
    this.results = [...this.results.slice(0, this.at + 1), result];
    this.at = this.results.length - 1;
  }

  /** Replace the whole history, because the options of the matte have changed. */
  restart(result) {
    this.results = [result];
    this.at = 0;
  }

  /** The name of the result's file: `photo.jpg` becomes `photo-cutout.png`. */
  resultName(kind, extension) {
    const stem = this.name.replace(/\.[^.]{1,5}$/, "") || "picture";
    return `${stem}-${kind}.${extension}`;
  }
}
