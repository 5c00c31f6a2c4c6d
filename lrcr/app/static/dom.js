// Elements of the page: making them, finding them, and the line of status at the bottom.

export const find = (id) => document.getElementById(id);

/** An element with properties (`class`, `data`, `on` for listeners, `aria-…` as attributes) and children. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "class") element.className = value;
    else if (name === "data") Object.assign(element.dataset, value);
    else if (name === "on") for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    else if (name in element && !name.includes("-")) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

export function makeSvg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

let hiding = 0;

/** Show a line of status; it goes away after some seconds unless it stays. */
export function say(line, stays = false) {
  clearTimeout(hiding);
  find("status").textContent = line;
  if (line && !stays) hiding = setTimeout(() => say(""), 6000);
}

/** Show a dialog with a title, a body and a foot; its close button and a click beside it close it. */
export function openDialog(dialog, title, body, foot = null) {
  const close = make("button", { class: "quiet", type: "button", "aria-label": "Close", on: { click: () => dialog.close() } }, "✕");
  const parts = [make("div", { class: "head" }, make("h2", {}, ...title), close), make("div", { class: "body" }, ...body)];
  if (foot) parts.push(make("div", { class: "foot" }, ...foot));
  dialog.replaceChildren(...parts);
  dialog.onclick = (event) => { if (event.target === dialog) dialog.close(); };
  if (!dialog.open) dialog.showModal();
  dialog.tabIndex = -1;
  dialog.focus(); // what had the focus may be gone, and keys must reach the dialog
}
