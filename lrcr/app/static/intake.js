// How a photo comes in: dropped, pasted or chosen.

import { find } from "./dom.js";

/** Call `take` with each file that is given. */
export function listen(take) {
  find("file").addEventListener("change", (event) => {
    const [file] = event.target.files;
    if (file) take(file);
    event.target.value = ""; // the same file can be chosen again
  });
  document.addEventListener("paste", (event) => {
    const [file] = event.clipboardData?.files ?? [];
    if (file) take(file);
  });
  let depth = 0; // of elements that the pointer is inside of
  const veil = (shown) => { find("veil").hidden = !shown; };
  const hasFile = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  document.addEventListener("dragenter", (event) => {
    if (hasFile(event)) { depth += 1; veil(true); }
  });
  document.addEventListener("dragleave", (event) => {
    if (hasFile(event)) { depth -= 1; veil(depth > 0); }
  });
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    depth = 0;
    veil(false);
    const [file] = event.dataTransfer?.files ?? [];
    if (file) take(file);
  });
  for (const label of document.querySelectorAll("label[for=file]")) { // labels are no buttons for the keyboard
    label.tabIndex = 0;
    label.setAttribute("role", "button");
    label.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); find("file").click(); }
    });
  }
}
