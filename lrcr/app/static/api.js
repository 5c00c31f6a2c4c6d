// The JSON interface of the server. A refusal is thrown with the line in which the server says why.

const TRIES = 5;

async function ask(address, options = {}) {
  for (let tried = 1; ; tried += 1) {
    let answer;
    try {
      answer = await fetch(address, options);
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Error("The server does not answer. Is lrcr serve still running?");
    }
    const body = await answer.json().catch(() => ({ error: `The server answered ${answer.status}.` }));
    if (answer.ok) return body;
    if (answer.status !== 429 || tried === TRIES) throw Object.assign(new Error(body.error), { status: answer.status });
    await new Promise((wake) => setTimeout(wake, 400 * tried)); // others are before us
  }
}

const send = (method, address, body) =>
  ask(address, { method, body: JSON.stringify(body), headers: { "Content-Type": "application/json" } });

export const state = () => ask("/api/state");
export const info = (photo) => ask(`/api/photos/${photo}/info`);
export const matches = (pair) => send("POST", "/api/matches", pair);
export const maps = (index, photo) => send("POST", "/api/maps", { index, photo });
export const judged = () => ask("/api/judgements");
export const judge = (judgement) => send("PUT", "/api/judgements", judgement);
export const picture = (photo, large = false) => `/api/photos/${photo}${large ? "?large=true" : ""}`;

/** Results from rank `offset` + 1 on, of a `file` or of a photo that the server knows. */
export function search({ file, photo, box, index, offset = 0 }, signal) {
  const form = new FormData();
  if (file) form.append("photo", file, file.name || "pasted");
  else form.append("query", photo);
  if (box) form.append("box", box.join(","));
  form.append("index", index);
  form.append("offset", offset);
  return ask("/api/search", { method: "POST", body: form, signal });
}
