// Streams that come and go: a list with a button each, and a form. Only with the page's token, over a websocket of its own.

import { make } from "./card.js";

const $ = (id) => document.getElementById(id);
const ANSWER_S = 90;
const EVERY_MS = 5000;

// Asks one thing at a time and gives back the answer, or throws what a person should read.
class Line {
  constructor(token) {
    this.token = token;
    this.socket = null;
    this.turn = Promise.resolve();
  }

  ask(request) {
    const asked = this.turn.then(() => this.#exchange({ id: crypto.randomUUID(), ...request }));
    this.turn = asked.catch(() => undefined);
    return asked;
  }

  async #exchange(request) {
    const socket = await this.#open();
    return new Promise((resolve, reject) => {
      const over = (done, value) => {
        clearTimeout(timer);
        socket.onmessage = socket.onclose = null;
        done(value);
      };
      const timer = setTimeout(() => over(reject, new Error("no answer")), ANSWER_S * 1000);
      socket.onclose = () => over(reject, new Error("the program hung up"));
      socket.onmessage = ({ data }) => {
        let answer = null;
        try {
          answer = JSON.parse(data);
        } catch {
          return over(reject, new Error("an answer that is none"));
        }
        return answer.error ? over(reject, new Error(String(answer.error).slice(0, 300))) : over(resolve, answer);
      };
      socket.send(JSON.stringify(request));
    });
  }

  #open() {
    if (this.socket?.readyState === WebSocket.OPEN) return this.socket;
    return new Promise((resolve, reject) => {
      const scheme = location.protocol.replace("http", "ws");
      this.socket = new WebSocket(`${scheme}//${location.host}/control`, ["agfn-control", `token.${this.token}`]);
      this.socket.onopen = () => resolve(this.socket);
      this.socket.onerror = () => reject(new Error("the program does not answer"));
    });
  }
}

const text = (value) => (typeof value === "string" ? value.slice(0, 100) : "");

function row(line, remove) {
  const what = line.source ? `file ${text(line.source)}` : text(line.camera) || "no camera";
  const sound = line.source ? "" : ` · ${text(line.mic) || "no microphone"}`;
  const button = make("button", "", "Remove");
  button.type = "button";
  button.setAttribute("aria-label", `Remove ${text(line.name)}`);
  button.addEventListener("click", () => remove(text(line.name), button));
  const how = make("span", "faint", `${what}${sound} · ${text(line.state)}`);
  return make("li", "", make("strong", "", text(line.name)), how, button);
}

export function manage(token) {
  const line = new Line(token);
  const say = (words, failed = false) => {
    $("managed").textContent = words;
    $("managed").dataset.failed = String(failed);
  };

  async function list() {
    const { streams } = await line.ask({ action: "list" });
    const shown = JSON.stringify(streams);
    if (shown === $("managed-streams").dataset.shown) return; // who is at a button keeps it
    $("managed-streams").dataset.shown = shown;
    $("managed-streams").replaceChildren(...(streams ?? []).slice(0, 1000).map((each) => row(each, remove)));
  }

  async function change(request, words) {
    say(`${words}…`);
    try {
      await line.ask(request);
      say(`${words}: done.`);
    } catch (error) {
      say(`${words}: ${error.message}`, true);
    }
    await list().catch(() => undefined);
  }

  function remove(name, button) {
    button.disabled = true;
    return change({ action: "remove", name }, `Remove ${name}`);
  }

  $("add-stream").addEventListener("submit", async (submitted) => {
    submitted.preventDefault();
    const value = (id) => $(id).value.trim();
    const stream = { name: value("add-name"), camera: value("add-camera") || null, mic: value("add-mic") || null };
    if (value("add-source")) stream.source = value("add-source");
    $("add-button").disabled = true;
    await change({ action: "add", stream }, `Add ${stream.name}`);
    $("add-button").disabled = false;
  });
  $("manage").hidden = false;
  const look = () => list().catch((error) => say(error.message, true));
  look();
  setInterval(() => { if (!document.hidden) look(); }, EVERY_MS);
}
