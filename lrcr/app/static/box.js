// The box on the query photo: drawn, moved and resized by pointer or keyboard, or typed. In pixels of the photo.

import { find } from "./dom.js";

const LEAST = 8; // pixels on the screen; a shorter drag draws nothing

export class BoxEditor {
  /** Calls `changed(box)` when the user has changed the box; null is the whole photo. */
  constructor(changed) {
    [this.photo, this.frame, this.text, this.whole] = ["photo", "box", "box-text", "whole"].map(find);
    this.changed = changed;
    this.size = [1, 1];
    this.box = null;
    this.drag = null;
    this.photo.addEventListener("pointerdown", (event) => this.start(event));
    this.photo.addEventListener("pointermove", (event) => this.move(event));
    this.photo.addEventListener("pointerup", () => this.end());
    this.photo.addEventListener("pointercancel", () => { this.set(this.drag?.before ?? null); this.drag = null; });
    this.photo.addEventListener("keydown", (event) => this.key(event));
    this.text.addEventListener("change", () => this.read());
    this.whole.addEventListener("click", () => this.commit(null));
  }

  /** Show a box of a photo of this size, without telling anyone. */
  show(size, box) {
    this.size = size;
    this.set(box);
  }

  set(box) {
    this.box = box;
    this.frame.hidden = this.whole.hidden = !box;
    this.text.value = box ? box.join(", ") : "";
    if (!box) return;
    const [width, height] = this.size;
    const percent = (value, whole) => `${(100 * value) / whole}%`;
    Object.assign(this.frame.style, {
      left: percent(box[0], width), top: percent(box[1], height),
      width: percent(box[2] - box[0], width), height: percent(box[3] - box[1], height),
    });
  }

  commit(box) {
    const before = JSON.stringify(this.committed ?? null);
    this.set(box);
    this.committed = box;
    if (JSON.stringify(box) !== before) this.changed(box);
  }

  point(event) {
    const area = this.photo.getBoundingClientRect();
    const inside = (value) => Math.min(Math.max(value, 0), 1);
    return [inside((event.clientX - area.left) / area.width) * this.size[0], inside((event.clientY - area.top) / area.height) * this.size[1]];
  }

  start(event) {
    if (event.button !== 0) return;
    this.photo.setPointerCapture(event.pointerId);
    const at = this.point(event), corner = [...this.frame.children].indexOf(event.target);
    this.drag = { at, before: this.box, from: [event.clientX, event.clientY], far: false, anchor: at, moves: event.target === this.frame };
    if (corner >= 0) this.drag.anchor = [this.box[corner % 2 ? 0 : 2], this.box[corner < 2 ? 3 : 1]];
    this.committed = this.box;
  }

  move(event) {
    if (!this.drag) return;
    const { at, before, from, anchor, moves } = this.drag;
    this.drag.far ||= Math.hypot(event.clientX - from[0], event.clientY - from[1]) >= LEAST;
    if (!this.drag.far) return;
    const to = this.point(event);
    this.set(moves ? this.shifted(before, to[0] - at[0], to[1] - at[1]) : this.between(anchor, to));
  }

  end() {
    const drag = this.drag;
    this.drag = null;
    if (!drag?.far || !this.box) return;
    const area = this.photo.getBoundingClientRect(), [x0, y0, x1, y1] = this.box;
    const tiny = Math.min(((x1 - x0) * area.width) / this.size[0], ((y1 - y0) * area.height) / this.size[1]) < LEAST;
    this.commit(tiny ? drag.before : this.box);
  }

  between([ax, ay], [bx, by]) {
    return [Math.min(ax, bx), Math.min(ay, by), Math.max(ax, bx), Math.max(ay, by)].map(Math.round);
  }

  shifted([x0, y0, x1, y1], dx, dy) {
    const [width, height] = this.size;
    const x = Math.round(Math.min(Math.max(dx, -x0), width - x1)), y = Math.round(Math.min(Math.max(dy, -y0), height - y1));
    return [x0 + x, y0 + y, x1 + x, y1 + y];
  }

  key(event) {
    const [width, height] = this.size, step = Math.max(1, Math.round(Math.max(width, height) / 50));
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
    if (event.key === "Enter" && !this.box) this.set([0.25 * width, 0.25 * height, 0.75 * width, 0.75 * height].map(Math.round));
    else if (event.key === "Enter") this.commit(this.box);
    else if (["Escape", "Delete", "Backspace"].includes(event.key) && this.box) this.commit(null);
    else if (moves && this.box && event.shiftKey) {
      const [x0, y0, x1, y1] = this.box;
      this.set([x0, y0, Math.min(Math.max(x1 + moves[0], x0 + step), width), Math.min(Math.max(y1 + moves[1], y0 + step), height)]);
    } else if (moves && this.box) this.set(this.shifted(this.box, ...moves));
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  read() {
    const numbers = this.text.value.split(/[\s,;]+/).filter(Boolean).map(Number);
    if (!numbers.length) this.commit(null);
    else if (numbers.length === 4 && numbers.every(Number.isFinite)) this.commit(this.clipped(numbers));
    else this.set(this.box);
  }

  clipped([x0, y0, x1, y1]) {
    const [width, height] = this.size, clip = (value, most) => Math.min(Math.max(value, 0), most);
    const box = this.between([clip(x0, width), clip(y0, height)], [clip(x1, width), clip(y1, height)]);
    return box[2] > box[0] && box[3] > box[1] ? box : this.box;
  }
}
