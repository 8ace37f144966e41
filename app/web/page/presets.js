// Presets: sizes that market places ask for. The API has no canvas size, so the page lays the cutout out itself.

const PX_PER_MM = 300 / 25.4;

/**
 * `fraction` is the part of the canvas that the subject may fill in either direction; `down` places it in the
 * free space, 0 at the top and 1 at the bottom.
 */
export const PRESETS = {
  none: { title: "As the picture" },
  square: { title: "Square, 2000 px", width: 2000, height: 2000, fraction: 0.85, down: 0.5 },
  portrait: { title: "Portrait 4:5, 1600 × 2000 px", width: 1600, height: 2000, fraction: 0.85, down: 0.5 },
  passport: {
    title: "Passport, 35 × 45 mm at 300 dpi",
    width: Math.round(35 * PX_PER_MM),
    height: Math.round(45 * PX_PER_MM),
    fraction: 0.92,
    down: 1,
  },
};
