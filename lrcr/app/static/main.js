// The page: a query, its results, and what is shown of each. The address holds the query, so a reload shows it again.

import * as api from "./api.js";
import { BoxEditor } from "./box.js";
import { Column } from "./column.js";
import { find, make, say } from "./dom.js";
import { listen } from "./intake.js";
import { showCount, showJudged } from "./judged.js";
import { listenToKeys, showKeys } from "./keys.js";
import { showMaps } from "./maps.js";
import { judge } from "./marks.js";
import { MatchesDialog } from "./matches.js";

let served, columns = [], asking = new AbortController();
let query = null; // photo, name, width, height, box
const box = new BoxEditor((part) => search({ photo: query.photo, box: part }));
const matches = new MatchesDialog({ search: (photo) => search({ photo }), maps, judge: judgeResult });

const address = ({ photo, box: part }) => `#photo=${photo}${part ? `&box=${part.join(",")}` : ""}`;

function readAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  const numbers = given.get("box")?.split(",").map(Number) ?? null;
  return { photo: given.get("photo"), box: numbers?.length === 4 && numbers.every(Number.isFinite) ? numbers : null };
}

/** Search with a file, or with a photo that the server knows. */
async function search(asked, keepAddress = false) {
  if (asked.file?.size > served.upload_bytes) {
    say(`${asked.file.name}: beyond ${Math.round(served.upload_bytes / 2 ** 20)} MiB; choose a smaller photo`);
    return;
  }
  asking.abort();
  asking = new AbortController();
  const { signal } = asking;
  showQueryView(asked);
  try {
    let known = asked;
    for (const column of columns) {
      const answer = await column.search(known, signal);
      if (column === columns[0]) {
        query = { ...answer.query, box: answer.box };
        known = { photo: query.photo, box: query.box };
        showQuery();
        if (!keepAddress && location.hash !== address(query)) history.pushState(null, "", address(query));
      }
    }
    say("");
    compareRanks();
  } catch (error) {
    if (signal.aborted) return;
    say(error.message);
    if (error.status === 404 || !query) start();
    else showQuery();
  }
}

function showQueryView({ file, photo }) {
  find("start").hidden = true;
  find("query").hidden = find("results").hidden = false;
  document.querySelector("main").classList.add("searching");
  const image = find("photo-image"), source = file ? URL.createObjectURL(file) : api.picture(photo, true);
  if (file || query?.photo !== photo) {
    image.src = source;
    image.onload = () => find("photo").style.setProperty("--ratio", image.naturalWidth / image.naturalHeight);
    box.show([1, 1], null);
    find("photo-name").textContent = file?.name ?? "";
  }
}

function showQuery() {
  const { photo, name, width, height } = query, image = find("photo-image");
  if (image.src.startsWith("blob:")) URL.revokeObjectURL(image.src);
  if (!image.src.endsWith(api.picture(photo, true))) image.src = api.picture(photo, true);
  find("photo").style.setProperty("--ratio", width / height);
  find("photo").setAttribute("aria-label", `Query photo ${name}`);
  find("photo-name").replaceChildren(name, make("small", {}, `${width} × ${height} pixels`));
  box.show([width, height], query.box);
  box.committed = query.box;
  document.title = `${name} – lrcr`;
}

function start() {
  query = null;
  find("start").hidden = false;
  find("query").hidden = find("results").hidden = true;
  document.querySelector("main").classList.remove("searching");
  document.title = "lrcr";
}

/** With two indexes, each result says at which rank the other has it. */
function compareRanks() {
  if (columns.length < 2) return;
  columns.forEach((column, number) => {
    const ranks = new Map(columns[1 - number].results.map((result) => [result.image, result.rank]));
    for (const result of column.results) {
      const rank = ranks.get(result.image), other = columns[1 - number].index.name;
      const text = rank ? `${number ? "←" : "→"} ${rank}` : "";
      if (result.other === text) continue;
      result.other = text;
      const place = column.elements.get(result.photo).querySelector(".other");
      place.textContent = text;
      place.title = rank ? `rank ${rank} in ${other}` : "";
    }
  });
}

async function judgeResult(column, result, mark) {
  if (!(await judge(query.photo, query.box, result, mark, showCount))) return;
  for (const each of columns) {
    const same = each.results.find((one) => one.photo === result.photo || one.image === result.image);
    if (same) each.mark(same, mark);
  }
}

function maps(index, photo = query?.photo) {
  if (!photo || !served.indexes[index]?.maps) return;
  const result = columns.flatMap((column) => column.results).find((one) => one.photo === photo);
  showMaps(served.indexes, index, photo, result?.image ?? query.name);
}

function setJudging(on) {
  find("judging").checked = on;
  document.body.classList.toggle("judging", on);
  localStorage.setItem("lrcr judging", on ? "on" : "");
}

function current() {
  const photo = document.activeElement?.closest(".tile")?.querySelector(".open").dataset.photo;
  const column = photo && columns.find((each) => each.list.contains(document.activeElement));
  return column && { column, result: column.results.find((result) => result.photo === photo) };
}

function showIndexes() {
  const actions = { open: (column, result) => matches.open(column, result, query), judge: judgeResult, added: compareRanks };
  columns = served.indexes.map((index, number) => new Column(number, index, actions));
  find("columns").replaceChildren(...columns.map((column) => column.root));
  find("columns").classList.toggle("two", columns.length > 1);
  find("columns").dataset.shown = "0";
  find("tabs").hidden = columns.length < 2;
  find("query-maps").hidden = !served.indexes.some((index) => index.maps);
  const tabs = served.indexes.map((index, number) => make("button", { type: "button", "aria-pressed": number === 0, on: { click: () => {
    find("columns").dataset.shown = String(number);
    tabs.forEach((tab, other) => tab.setAttribute("aria-pressed", String(other === number)));
  } } }, index.name));
  find("tabs").replaceChildren(...tabs);
  find("served").textContent = served.indexes.map(({ name, images }) => `${name}: ${images.toLocaleString("en")} photos`).join("  ·  ");
  find("note").textContent = `The photo is sent to this server only, and stays in its memory. At most ${Math.round(served.upload_bytes / 2 ** 20)} MiB.`;
}

function showAddress() {
  const asked = readAddress();
  if (asked.photo) search(asked, true);
  else start();
}

async function open() {
  served = await api.state();
  showIndexes();
  listen((file) => search({ file }));
  const searchPhoto = (photo, part = null) => search({ photo, box: part });
  listenToKeys(() => columns, current, { search: searchPhoto, maps, judge: judgeResult, toggleJudging: () => setJudging(!find("judging").checked) });
  find("judging").addEventListener("change", (event) => setJudging(event.target.checked));
  find("query-maps").addEventListener("click", () => maps(served.indexes.findIndex((index) => index.maps)));
  find("open-keys").addEventListener("click", showKeys);
  find("open-judged").addEventListener("click", () => showJudged(served.judged, searchPhoto).catch((error) => say(error.message)));
  find("home").addEventListener("click", (event) => { event.preventDefault(); asking.abort(); history.pushState(null, "", "/"); start(); });
  addEventListener("popstate", showAddress);
  setJudging(localStorage.getItem("lrcr judging") === "on");
  showAddress();
  showCount((await api.judged()).queries);
}

open().catch((error) => say(error.message, true));
