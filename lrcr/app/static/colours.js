// Colour maps, as a few colours between which values are interpolated.

const hex = (text) => [1, 3, 5].map((start) => parseInt(text.slice(start, start + 2), 16));
const TABLES = {
  viridis: ["#440154", "#482475", "#414487", "#355f8d", "#2a788e", "#21918c", "#22a884", "#44bf70", "#7ad151", "#bddf26", "#fde725"].map(hex),
  heat: ["#ffffcc", "#ffeda0", "#fed976", "#feb24c", "#fd8d3c", "#fc4e2a", "#e31a1c", "#bd0026", "#800026"].map(hex),
  plasma: ["#0d0887", "#5302a3", "#8b0aa5", "#b83289", "#db5c68", "#f48849", "#febd2a", "#f0f921"].map(hex),
};

/** Red, green and blue of a value from 0 to 1. */
export function colour(table, value) {
  const colours = TABLES[table], place = Math.min(Math.max(value, 0), 1) * (colours.length - 1);
  const low = Math.min(Math.floor(place), colours.length - 2), share = place - low;
  return colours[low].map((from, channel) => Math.round(from + share * (colours[low + 1][channel] - from)));
}

export const css = (table, value) => `rgb(${colour(table, value).join(" ")})`;

export const gradient = (table) => `linear-gradient(90deg, ${[0, 0.25, 0.5, 0.75, 1].map((value) => css(table, value)).join(", ")})`;
