// The maps of a photo: what the model of an index takes for strong, and what its context does.

import * as api from "./api.js";
import { colour, gradient } from "./colours.js";
import { find, make, openDialog } from "./dom.js";

/** Show the maps of a photo by the model of an index; `indexes` are those that there are. */
export async function showMaps(indexes, number, photo, name) {
  const dialog = find("maps");
  const choose = indexes.length < 2 ? [] : [make("div", { class: "lines" }, ...indexes.map((index, other) => make("label", {}, make("input", {
    type: "radio", name: "maps-of", checked: other === number, disabled: !index.maps, on: { change: () => showMaps(indexes, other, photo, name) },
  }), index.name)))];
  const title = ["Maps", make("small", {}, name)];
  openDialog(dialog, title, [...choose, make("p", { class: "note", role: "status" }, "Computing…")]);
  const asked = `${number} ${photo}`;
  dialog.dataset.asked = asked;
  try {
    const { maps, window } = await api.maps(number, photo);
    if (!dialog.open || dialog.dataset.asked !== asked) return;
    const plain = make("figure", {}, make("div", { class: "stack" }, make("img", { src: api.picture(photo, true), alt: "the photo" })), make("figcaption", {}, "photo"));
    openDialog(dialog, title, [...choose, make("div", { class: "panels" }, plain, ...maps.map((map) => panel(map, window, photo)))]);
  } catch (error) {
    if (dialog.open) openDialog(dialog, title, [...choose, make("p", { class: "note", role: "status" }, error.message)]);
  }
}

function panel({ name, about, values }, [left, top, right, bottom], photo) {
  const all = values.flat(), table = name.startsWith("attention") ? "heat" : "viridis";
  const low = Math.min(...all), high = Math.max(...all);
  const canvas = make("canvas", { width: values[0].length, height: values.length });
  const context = canvas.getContext("2d"), picture = context.createImageData(canvas.width, canvas.height);
  all.forEach((value, place) => {
    const share = high > low ? (value - low) / (high - low) : 0.5;
    picture.data.set([...colour(table, share), table === "heat" ? 40 + 215 * share : 255], 4 * place);
  });
  context.putImageData(picture, 0, 0);
  Object.assign(canvas.style, { left: `${100 * left}%`, top: `${100 * top}%`, width: `${100 * (right - left)}%`, height: `${100 * (bottom - top)}%` });
  const bar = make("i");
  bar.style.background = gradient(table);
  return make("figure", {},
    make("div", { class: "stack" }, make("img", { class: "grey", src: api.picture(photo, true), alt: `${name} over the photo` }), canvas),
    make("figcaption", {}, name, make("div", { class: "scale" }, low.toPrecision(3), bar, high.toPrecision(3)), make("small", {}, about)));
}
