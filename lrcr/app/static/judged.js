// The list of judged queries, and how to measure with them.

import * as api from "./api.js";
import { find, make, openDialog } from "./dom.js";
import { MARKS } from "./marks.js";

export function showCount(queries) {
  find("judged-count").textContent = String(queries.length);
}

const shortName = (image) => (image.startsWith("queries/") ? "an uploaded photo" : image.replace(/^photos(-\d+)?\//, ""));

/** Show the judged queries; a click on one calls `search(photo, box)`. */
export async function showJudged(folder, search) {
  const dialog = find("judged"), { queries } = await api.judged();
  showCount(queries);
  const entries = queries.map(({ photo, image, box, counts }) => {
    const said = MARKS.filter((mark) => counts[mark]).map((mark) => `${counts[mark]} ${mark}`).join(", ");
    const picture = photo ? make("img", { src: api.picture(photo), alt: "", loading: "lazy" }) : make("span");
    return make("li", {}, make("button", { type: "button", disabled: !photo, on: { click: () => { dialog.close(); search(photo, box); } } },
      picture, make("span", {}, shortName(image), make("small", {}, `${said}${box ? ` · part ${box.join(", ")}` : ""}`))));
  });
  const none = make("p", { class: "note" }, "Nothing yet. Search, switch on Judge, and mark results: 1 easy, 2 hard, 3 junk, 4 wrong.");
  openDialog(dialog, ["Judged queries"], [
    entries.length ? make("ul", { class: "list" }, ...entries) : none,
    make("p", { class: "note" }, "Stored after each mark. Measure with ", make("code", {}, `lrcr evaluate ${folder}`)),
  ]);
}
