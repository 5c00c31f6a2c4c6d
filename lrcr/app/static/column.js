// One column of results: of one index, more of them as one scrolls.

import * as api from "./api.js";
import { make, say } from "./dom.js";
import { markButtons } from "./marks.js";

const shortScore = (score) => (Math.abs(score) >= 0.1 ? score.toFixed(3) : score.toPrecision(2));

export class Column {
  /** `actions`: open(column, result), judge(column, result, mark), added(column). */
  constructor(number, index, actions) {
    Object.assign(this, { number, index, actions, results: [], elements: new Map(), query: null, total: 0, loading: false });
    this.about = make("small");
    this.list = make("ol", { class: "tiles" });
    this.foot = make("p", { class: "end" });
    this.root = make("section", { class: "column", "aria-label": index.name }, make("h2", {}, index.name, this.about), this.list, this.foot);
    this.observer = new IntersectionObserver(([entry]) => entry.isIntersecting && this.more(), { rootMargin: "600px" });
  }

  /** Search; the results before stay, faded, until the new ones are there. */
  async search(query, signal) {
    this.query = query;
    this.about.textContent = "";
    this.root.classList.add("wait");
    this.root.setAttribute("aria-busy", "true");
    try {
      const answer = await api.search({ ...query, index: this.number }, signal);
      this.query = { photo: answer.query.photo, box: answer.box };
      this.results = [];
      this.elements.clear();
      this.list.replaceChildren();
      this.total = answer.total;
      this.about.textContent = `${answer.total} result${answer.total === 1 ? "" : "s"} · ${answer.seconds.toFixed(2)} s`;
      this.add(answer.results);
      return answer;
    } finally {
      if (!signal.aborted) {
        this.root.classList.remove("wait");
        this.root.removeAttribute("aria-busy");
      }
    }
  }

  async more() {
    const query = this.query;
    if (this.loading || this.root.classList.contains("wait") || !this.results.length || this.results.length >= this.total) return;
    this.loading = true;
    try {
      const answer = await api.search({ ...query, index: this.number, offset: this.results.length });
      if (query === this.query) this.add(answer.results);
    } catch (error) {
      say(error.message);
    } finally {
      this.loading = false;
    }
  }

  add(results) {
    for (const result of results) {
      this.results.push(result);
      const element = make("li", { class: "tile" });
      element.style.setProperty("--ratio", Math.min(Math.max(result.width / result.height, 0.4), 2.6));
      this.elements.set(result.photo, element);
      this.draw(result);
      this.list.append(element);
    }
    const all = this.results.length >= this.total;
    this.foot.textContent = !this.total ? "No photo of this index has anything in common with the query." : all ? "No more results." : "";
    this.observer.unobserve(this.foot); // observed anew, it tells also if it has stayed in sight
    if (!all) this.observer.observe(this.foot);
    this.actions.added(this);
  }

  draw(result) {
    const element = this.elements.get(result.photo), best = (this.results.find((one) => !one.same) ?? result).score;
    const image = make("img", { src: api.picture(result.photo), alt: "", loading: "lazy", decoding: "async" });
    image.addEventListener("error", () => { image.alt = "no picture"; });
    const percent = Math.round(100 * result.confidence), score = shortScore(result.score);
    const shown = result.confidence === null ? score : percent ? `${percent} %` : `0 % · score ${score}`;
    const meter = make("i");
    meter.style.width = `${100 * Math.max(0, Math.min(1, result.confidence ?? result.score / best))}%`;
    const name = result.label ?? result.image;
    element.dataset.marked = result.mark ?? "";
    element.replaceChildren(
      make("button", {
        class: "open", type: "button", data: { photo: result.photo }, on: { click: () => this.actions.open(this, result) },
        "aria-label": `${result.rank}. ${result.image}, ${result.confidence === null ? "score" : "confidence"} ${shown}${result.mark ? `, ${result.mark}` : ""}`,
      }, image),
      ...(result.same ? [make("span", { class: "badge" }, "the query")] : []),
      ...(result.mark ? [make("span", { class: "badge", data: { mark: result.mark } }, result.mark)] : []),
      make("div", { class: "meter" }, meter),
      make("div", { class: "about" },
        make("b", {}, String(result.rank)),
        make("span", { class: "name", title: `${result.image}\nscore ${result.score}` }, name),
        make("span", { class: "other" }, result.other ?? ""),
        make("span", { title: `score ${result.score}` }, shown)),
      ...(result.same ? [] : [markButtons(result.mark, (mark) => this.actions.judge(this, result, mark))]),
    );
  }

  /** Show a new mark, keeping the keyboard's focus. */
  mark(result, mark) {
    const focused = this.elements.get(result.photo)?.contains(document.activeElement);
    result.mark = mark;
    this.draw(result);
    if (focused) this.focus(result);
  }

  focus(result) {
    this.elements.get(result.photo)?.querySelector(".open").focus();
  }

  /** The result after or before another, or above or below it on the screen; undefined at the end. */
  neighbour(result, key) {
    const place = this.results.indexOf(result), step = { ArrowLeft: -1, ArrowRight: 1 }[key];
    if (step) return this.results[place + step];
    const middle = (one) => { const area = this.elements.get(one.photo).getBoundingClientRect(); return [area.left + area.width / 2, area.top]; };
    const [x, y] = middle(result), down = key === "ArrowDown";
    const beyond = this.results.filter((one) => (down ? middle(one)[1] > y + 4 : middle(one)[1] < y - 4));
    const row = down ? Math.min(...beyond.map((one) => middle(one)[1])) : Math.max(...beyond.map((one) => middle(one)[1]));
    const distance = (one) => Math.abs(middle(one)[0] - x);
    return beyond.filter((one) => Math.abs(middle(one)[1] - row) < 4).sort((a, b) => distance(a) - distance(b))[0];
  }
}
