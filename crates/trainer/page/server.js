// Talks to the server that this page came from, and to no other. The token of the session stands in the link behind
// the '#', which no request carries; it is kept for this address, so that the page can be opened again.

const KEY = "token";

const given = new URLSearchParams(location.hash.slice(1)).get("token");
if (given) {
  localStorage.setItem(KEY, given);
  history.replaceState(null, "", "/");
}

const headers = () => ({ Authorization: `Bearer ${localStorage.getItem(KEY) ?? ""}` });

// An answer that is not what was asked for, with the sentence that says why.
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(`/api/${path}`, { ...options, headers: headers() });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "the program does not answer: is `trainer serve` still running?");
  }
  if (!answer.ok) throw new Refused(answer.status, await answer.text());
  return answer;
}

export const get = async (path, signal) => (await ask(path, { signal })).json();

export const post = async (path, body = {}, signal) =>
  (await ask(path, { method: "POST", body: JSON.stringify(body), signal })).json();

// Sends a file as it is.
export const send = async (path, file) => (await ask(path, { method: "POST", body: file })).json();

// A picture as something that an <img> can show.
export const picture = async (path) => URL.createObjectURL(await (await ask(path)).blob());

// Server-sent events, as [name, data]. `EventSource` could not send the token.
export async function* events(path, { body, signal } = {}) {
  const options = body === undefined ? { signal } : { method: "POST", body: JSON.stringify(body), signal };
  const reader = (await ask(path, options)).body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      text += value;
      for (let end; (end = text.indexOf("\n\n")) >= 0; text = text.slice(end + 2)) {
        let name = "message";
        const data = [];
        for (const line of text.slice(0, end).split("\n")) {
          if (line.startsWith("event: ")) name = line.slice(7);
          if (line.startsWith("data: ")) data.push(line.slice(6));
        }
        yield [name, data.join("\n")];
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

// Bytes that came as text.
export const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

export const blob = (text, type) => new Blob([bytes(text)], { type });
