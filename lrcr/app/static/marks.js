// Marks of results: easy, hard, junk or wrong. Each is on the server's disk before it is shown as set.

import * as api from "./api.js";
import { make, say } from "./dom.js";

export const MARKS = ["easy", "hard", "junk", "wrong"];
const ABOUT = {
  easy: "shows the same thing, clearly",
  hard: "shows it, but hard to tell",
  junk: "shows too little of it; does not count",
  wrong: "shows something else",
};

/** Four buttons; `judge(mark)` is called with the mark that is asked for, null to take it back. */
export function markButtons(mark, judge) {
  const buttons = MARKS.map((name, number) =>
    make("button", {
      type: "button", data: { mark: name }, "aria-pressed": name === mark, title: `${ABOUT[name]} (key ${number + 1})`,
      tabIndex: -1, on: { click: (event) => { event.stopPropagation(); judge(name === mark ? null : name); } },
    }, make("span", {}, name)));
  return make("div", { class: "marks", role: "group", "aria-label": "Judgement" }, ...buttons);
}

/** The mark that a key asks for, undefined for other keys. */
export function markOfKey(key) {
  if (key === "0") return null;
  return MARKS[Number(key) - 1];
}

/** Judge a result; returns whether it was stored. `told(queries)` is called with all judged queries. */
export async function judge(query, box, result, mark, told) {
  try {
    told((await api.judge({ query, box, photo: result.photo, mark })).queries);
    return true;
  } catch (error) {
    say(error.message);
    return false;
  }
}
