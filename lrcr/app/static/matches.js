// A result on its own: query and result side by side, with lines between the places that match.

import * as api from "./api.js";
import { css } from "./colours.js";
import { find, make, makeSvg, openDialog } from "./dom.js";
import { markButtons, markOfKey } from "./marks.js";

const narrow = matchMedia("(max-width: 760px)");

export class MatchesDialog {
  /** `actions`: search(photo), maps(index, photo), judge(column, result, mark). */
  constructor(actions) {
    this.dialog = find("matches");
    this.actions = actions;
    this.kind = "words";
    this.most = 40;
    this.dialog.addEventListener("keydown", (event) => this.key(event));
    this.dialog.addEventListener("close", () => this.column?.focus(this.result));
    narrow.addEventListener("change", () => this.dialog.open && this.draw());
  }

  async open(column, result, query) {
    Object.assign(this, { column, result, query, found: null, note: column.index.explains ? "Comparing…" : "This index holds global vectors, which have no places to match." });
    this.draw();
    if (!column.index.explains) return;
    try {
      const found = await api.matches({ index: column.number, query: query.photo, box: query.box, photo: result.photo });
      if (result !== this.result) return;
      this.found = found;
      if (!found.inliers) this.kind = "words";
    } catch (error) {
      this.note = error.message;
    }
    if (this.dialog.open) this.draw();
  }

  draw() {
    const { column, result } = this;
    const score = result.confidence === null ? "" : `confidence ${Math.round(100 * result.confidence)} % · `;
    const step = (key, label, text) => make("button", { type: "button", "aria-label": label, disabled: !column.neighbour(result, key), on: { click: () => this.step(key) } }, text);
    openDialog(
      this.dialog,
      [`${result.rank}. ${result.image}`, make("small", {}, `${score}score ${result.score.toFixed(4)}${result.label ? ` · ${result.label}` : ""}`)],
      [this.stage(), this.controls()],
      [
        ...(result.same ? [] : [markButtons(result.mark, (mark) => this.judge(mark))]), make("span", { class: "space" }),
        ...(column.index.maps ? [make("button", { type: "button", on: { click: () => this.actions.maps(column.number, result.photo) } }, "Maps")] : []),
        make("button", { type: "button", on: { click: () => { this.dialog.close(); this.actions.search(result.photo); } } }, "Search with this"),
        step("ArrowLeft", "Previous result", "‹"), step("ArrowRight", "Next result", "›"),
      ],
    );
  }

  async judge(mark) {
    await this.actions.judge(this.column, this.result, mark);
    if (this.dialog.open) this.draw();
  }

  step(key) {
    const next = this.column.neighbour(this.result, key);
    if (next) this.open(this.column, next, this.query);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.matches("input") && event.key.startsWith("Arrow")) return; // it has a use for them itself
    const mark = markOfKey(event.key);
    if (event.key === "ArrowLeft" || event.key === "ArrowRight") this.step(event.key);
    else if (mark !== undefined) this.judge(mark);
    else if (event.key === "s") { this.dialog.close(); this.actions.search(this.result.photo); }
    else if (event.key === "m") this.actions.maps(this.column.number, this.result.photo);
    else return;
    event.preventDefault();
  }

  controls() {
    if (!this.found) return make("p", { class: "note", role: "status" }, this.note);
    const { words, inliers, shared } = this.found;
    const range = make("input", { type: "range", min: 1, max: Math.max(1, this.lines().length), value: this.most, "aria-label": "Lines", on: { input: (event) => {
      this.most = Number(event.target.value);
      this.drawLines();
    } } });
    const kind = (value, text, count) => make("label", {}, make("input", {
      type: "radio", name: "kind", value, checked: this.kind === value, on: { change: () => {
        this.kind = value;
        range.max = Math.max(1, this.lines().length);
        this.drawLines();
      } },
    }), `${text} (${count})`);
    return make("div", { class: "lines" },
      ...(inliers ? [kind("words", "Visual words", shared), kind("inliers", "Geometric inliers", inliers.length)]
        : [make("span", {}, `${shared} visual words in common`)]),
      make("label", {}, "Lines", range));
  }

  drawLines() {
    this.dialog.querySelector(".stage").replaceWith(this.stage());
  }

  lines() {
    return this.found ? this.found[this.kind] ?? [] : [];
  }

  /** Both photos and the lines as one picture; on a narrow screen one photo above the other. */
  stage() {
    const below = narrow.matches, unit = 1000, gap = 24;
    const fit = ({ width, height }) => (below ? unit / width : unit / height);
    const [left, right] = [fit(this.query), fit(this.result)];
    const offset = below ? [0, this.query.height * left + gap] : [this.query.width * left + gap, 0];
    const extent = [offset[0] + this.result.width * right, offset[1] + this.result.height * right];
    const photo = (id, { width, height }, scale, [x, y]) => makeSvg("image", { href: api.picture(id, true), x, y, width: width * scale, height: height * scale, preserveAspectRatio: "none" });
    const svg = makeSvg("svg", { class: "stage", viewBox: `0 0 ${extent.join(" ")}`, role: "img", "aria-label": `Query and result, with ${this.lines().length} matches` },
      photo(this.query.photo, this.query, left, [0, 0]), photo(this.result.photo, this.result, right, offset));
    if (this.query.box) {
      const [x0, y0, x1, y1] = this.query.box.map((value) => value * left);
      svg.append(makeSvg("rect", { class: "query-box", x: x0, y: y0, width: x1 - x0, height: y1 - y0 }));
    }
    const shown = this.lines().slice(0, this.most), best = shown[0]?.[4] ?? 1;
    for (const [x, y, hitX, hitY, contribution] of shown.reverse()) {
      const share = Math.sqrt(contribution / best), stroke = css("plasma", 0.3 + 0.7 * share);
      const ends = [[x * left, y * left], [hitX * right + offset[0], hitY * right + offset[1]]];
      svg.append(makeSvg("line", { x1: ends[0][0], y1: ends[0][1], x2: ends[1][0], y2: ends[1][1], stroke, opacity: 0.45 + 0.5 * share }),
        ...ends.map(([cx, cy]) => makeSvg("circle", { cx, cy, r: 6, fill: stroke })));
    }
    return svg;
  }
}
