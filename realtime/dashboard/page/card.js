// The card of one stream. Text goes in as text only: what a broker sends never becomes markup.

import { drawScore, drawShares } from "./charts.js";
import { GATES } from "./messages.js";

export function make(tag, classes, ...children) {
  const node = document.createElement(tag);
  if (classes) node.className = classes;
  node.append(...children);
  return node;
}

export const put = (node, text) => {
  if (node.textContent !== text) node.textContent = text;
};
export const signed = (score) => `${score.toFixed(2) < 0 ? "−" : "+"}${Math.abs(score).toFixed(2)}`;
const percent = (share) => `${Math.round(share * 100)} %`;
const MARKS = { analysing: "analysing", paused: "paused", unknown: "no news" };
const SIGNS = { ok: "✓ ok", noisy: "▨ noisy", stale: "… stale", lost: "✕ lost", off: "○ off" };

export class Card {
  constructor(stream, command) {
    this.stream = stream;
    this.visible = true;
    this.title = make("h2", "", stream.name);
    this.title.id = `stream-${crypto.randomUUID()}`;
    this.mark = make("span", "mark");
    this.recording = make("span", "rec");
    this.button = make("button", "");
    this.button.type = "button";
    this.button.addEventListener("click", () => command(stream, stream.paused ? "resume" : "pause"));
    this.say = make("p", "say");
    this.score = make("span", "score");
    this.label = make("span", "label");
    this.interval = make("span", "faint");
    this.band = make("span", "faint");
    this.chart = this.#canvas("chart");
    this.shares = this.#canvas("shares");
    this.since = make("span", "");
    this.gates = Object.fromEntries(GATES.map((name) => [name, this.#gate(name)]));
    this.committed = make("span", "");
    this.tentative = make("span", "tentative");
    this.words = make("p", "words", this.committed, " ", this.tentative);
    this.vitals = make("p", "vitals");
    this.node = make(
      "section", "card",
      make("div", "top", this.title, this.mark, this.recording, this.button),
      this.say,
      make("div", "now", this.score, make("span", "", this.label, make("br"), this.interval, make("br"), this.band)),
      this.words,
      this.chart,
      make("div", "caption", this.since, make("span", "", "score, 68 % band, 90 % whiskers")),
      make("ul", "gates", ...Object.values(this.gates).map((gate) => gate.node)),
      this.shares,
      make("div", "caption", make("span", "", "share of each gate over the same time")),
      this.vitals,
    );
    this.node.setAttribute("aria-labelledby", this.title.id);
  }

  update(nowS, spanS, connected, palette) {
    const { say, stale, mark } = this.stream.view(nowS, connected);
    Object.assign(this.node.dataset, { stale: String(stale), mark, state: this.stream.newest?.state ?? "" });
    put(this.mark, MARKS[mark]);
    const recording = mark === "unknown" ? null : this.stream.recording(nowS);
    this.recording.hidden = !recording;
    this.recording.dataset.failed = String(recording?.failed ?? false);
    if (recording) put(this.recording, recording.failed ? "recording failed" : `REC ${recording.kept}`);
    put(this.say, say);
    this.say.hidden = say === "";
    this.#updateButton(nowS, connected, stale);
    put(this.since, spanS < 120 ? "a minute ago" : `${spanS / 60} minutes ago`);
    if (this.stream.newest) this.#updateValues(this.stream.newest);
    if (this.visible && !document.hidden) {
      drawScore(this.chart, this.stream.past, nowS, spanS, palette);
      drawShares(this.shares, this.stream.past, nowS, spanS, palette);
    }
  }

  #updateButton(nowS, connected, stale) {
    const waits = this.stream.asked !== null && nowS <= this.stream.asked.untilS;
    const word = this.stream.paused ? "Resume" : "Pause";
    put(this.button, waits ? `${word}…` : word);
    this.button.disabled = !connected || stale || waits || !this.stream.newest;
    this.button.setAttribute("aria-label", `${word} ${this.stream.name}`);
  }

  #updateValues(newest) {
    const scored = newest.score !== null;
    put(this.score, scored ? signed(newest.score) : "–");
    this.score.dataset.tone = !scored || Math.abs(newest.score) < 0.5 ? "" : newest.score > 0 ? "positive" : "negative";
    put(this.label, scored ? newest.label ?? "" : newest.state.replaceAll("_", " "));
    const range = (name, { low, high }) => `${name}: ${signed(low)} to ${signed(high)}`;
    put(this.interval, scored
      ? `${range("90 %", newest.interval)}, confidence ${percent(newest.confidence ?? 0)}` : "");
    put(this.band, scored && newest.band ? range("68 %", newest.band) : "");
    this.chart.setAttribute("aria-label", `Score over time, now ${this.score.textContent} ${this.label.textContent}`);
    for (const name of GATES) this.gates[name].update(newest.gates[name]);
    this.words.hidden = !newest.committed && !newest.tentative;
    put(this.committed, newest.committed);
    put(this.tentative, newest.tentative);
    put(this.vitals, this.#vitals(newest));
  }

  #vitals(newest) {
    const parts = [];
    if (newest.totalMs !== null) parts.push(`lag ${newest.totalMs} ms`);
    if (newest.textLagMs !== null) parts.push(`words ${(newest.textLagMs / 1000).toFixed(1)} s`);
    const health = this.stream.health;
    for (const device of health?.devices ?? []) parts.push(`${device.name} ${device.hz.toFixed(0)}/s`);
    if (health && health.cores !== null) parts.push(`${health.cores.toFixed(1)} cores`);
    if (health && health.rssMb !== null) parts.push(`${health.rssMb.toFixed(0)} MB`);
    return parts.join(" · ");
  }

  #canvas(classes) {
    const canvas = make("canvas", classes);
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", "Share of the gates over time");
    return canvas;
  }

  #gate(name) {
    const [weight, trust] = [make("div", ""), make("div", "")];
    const [share, pill, why] = [make("span", "share"), make("span", "pill"), make("span", "why")];
    const bars = make("div", "", make("div", "bar", weight), make("div", "trust", trust));
    const node = make("li", "gate", make("span", "name", name), bars, share, pill, why);
    node.dataset.gate = name;
    const update = (gate) => {
      node.dataset.state = pill.dataset.state = gate.state;
      weight.style.transform = `scaleX(${gate.weight})`;
      trust.style.transform = `scaleX(${gate.reliability})`;
      put(share, percent(gate.weight));
      put(pill, SIGNS[gate.state] ?? gate.state);
      put(why, `reliability ${gate.reliability.toFixed(2)}${gate.cause ? ` · ${gate.cause}` : ""}`);
    };
    return { node, update };
  }
}
