// The keys, and the list of them.

import { find, make, openDialog } from "./dom.js";
import { markOfKey } from "./marks.js";

const KEYS = [
  [["o"], "choose a photo"],
  [["Ctrl", "V"], "search with a photo from the clipboard"],
  [["b"], "go to the query: Enter adds a box, arrows move it, Shift and arrows resize it, Enter searches, Esc removes it"],
  [["r"], "go to the first result"],
  [["←", "→", "↑", "↓"], "go from result to result"],
  [["Enter"], "show where query and result match"],
  [["s"], "search with this result"],
  [["m"], "maps of this result, or of the query"],
  [["1", "2", "3", "4"], "judge: easy, hard, junk, wrong; 0 takes it back"],
  [["j"], "show or hide the buttons for judging"],
  [["Esc"], "close what is open"],
];

export function showKeys() {
  const list = KEYS.flatMap(([keys, text]) => [make("dt", {}, ...keys.flatMap((key) => [make("kbd", {}, key), " "])), make("dd", {}, text)]);
  openDialog(find("keys"), ["Keys"], [make("dl", { class: "keys" }, ...list)]);
}

/** `current()`: the result that has the focus, and its column; `actions`: open, search, maps, judge, toggleJudging. */
export function listenToKeys(columns, current, actions) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input[type=text]")) return;
    if (document.querySelector("dialog[open]")) return;
    const { column, result } = current() ?? {}, mark = markOfKey(event.key);
    if (event.key === "?") showKeys();
    else if (event.key === "o") find("file").click();
    else if (event.key === "b") find("photo").focus();
    else if (event.key === "j") actions.toggleJudging();
    else if (event.key === "r" && columns()[0]?.results[0]) columns()[0].focus(columns()[0].results[0]);
    else if (event.key === "m") actions.maps(column?.number ?? 0, result?.photo);
    else if (result && event.key.startsWith("Arrow")) {
      const next = column.neighbour(result, event.key);
      if (next) column.focus(next);
    } else if (result && event.key === "s") actions.search(result.photo);
    else if (result && mark !== undefined) actions.judge(column, result, mark);
    else return;
    event.preventDefault();
  });
}
