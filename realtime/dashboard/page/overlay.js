// The streams as a source for OBS. It only watches: it has no button, and the token in its address lets it do no more.
// overlay.html?stream=desk shows that stream alone.

import { make, signed } from "./card.js";
import { ask, connect } from "./link.js";
import { GATES, sentiment } from "./messages.js";
import { Stream } from "./stream.js";

const MAX_STREAMS = 8;
const only = new URLSearchParams(location.search).get("stream");
const token = new URLSearchParams(location.hash.slice(1)).get("token") ?? "";
const now = () => performance.now() / 1000;
const panels = new Map();
let connected = false;

class Panel {
  constructor(name) {
    this.stream = new Stream(name);
    this.label = make("span", "label");
    this.score = make("span", "score");
    this.range = make("div", "range");
    this.point = make("div", "point");
    this.gates = GATES.map((gate) => {
      const fill = make("div", "");
      const node = make("li", "", make("div", "bar", fill), gate);
      node.dataset.gate = gate;
      return { gate, fill, node };
    });
    this.node = make("section", "panel",
      make("div", "line", make("h2", "", name), this.label),
      make("div", "line", this.score),
      make("div", "scale", make("div", "zero"), this.range, this.point),
      make("ul", "gates", ...this.gates.map(({ node }) => node)));
  }

  update() {
    const { newest } = this.stream;
    const { stale } = this.stream.view(now(), connected);
    this.node.dataset.stale = String(stale);
    if (!newest) return;
    const scored = newest.score !== null;
    this.score.textContent = scored ? signed(newest.score) : "–";
    this.score.dataset.tone = !scored || Math.abs(newest.score) < 0.5 ? "" : newest.score > 0 ? "positive" : "negative";
    this.label.textContent = stale ? "no news" : scored ? newest.label ?? "" : newest.state.replaceAll("_", " ");
    const place = (score) => `${((score + 3) / 6) * 100}%`;
    this.point.hidden = this.range.hidden = !scored;
    if (scored) {
      this.point.style.left = place(newest.score);
      this.range.style.left = place(newest.interval.low);
      this.range.style.right = `calc(100% - ${place(newest.interval.high)})`;
    }
    for (const { gate, fill, node } of this.gates) {
      fill.style.transform = `scaleX(${newest.gates[gate].weight})`;
      node.dataset.closed = String(["lost", "off"].includes(newest.gates[gate].state));
    }
  }
}

function take(name, kind, payload) {
  const message = kind === "sentiment" && (only === null || name === only) ? sentiment(payload) : null;
  if (!message) return;
  if (!panels.has(name)) {
    if (panels.size >= MAX_STREAMS) return;
    panels.set(name, new Panel(name));
    document.querySelector("#streams").append(panels.get(name).node);
  }
  panels.get(name).stream.hear(message, now());
}

function draw() {
  for (const panel of panels.values()) panel.update();
}

function say(words) {
  document.querySelector("#say").textContent = words;
  document.querySelector("#say").hidden = false;
}

const settings = await ask(token);
if (settings === null) {
  say("Open this page by the link on the dashboard: its token is missing or wrong.");
} else {
  connect(settings, { token, kinds: ["sentiment"], take, change: (now) => { connected = now; },
    refused: () => say("The broker asks for a user, which this page has none of.") });
  setInterval(draw, 250);
}
