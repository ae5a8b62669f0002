// The fleets of the broker: hosts with their loads, streams that no host has, the newest moves. It only shows.

import { make, put } from "./card.js";
import { fleet } from "./messages.js";

const MAX_FLEETS = 8;
const STALE_S = 3; // a fleet says how it is once a second
const STATES = { // as the pills of the gates look
  ready: ["ok", "✓ ready"],
  draining: ["noisy", "▽ draining"],
  silent: ["lost", "✕ silent"],
  starting: ["stale", "… starting"],
};
const WHY = { new: "new stream", lost: "host lost", drain: "host drained", balance: "balance", asked: "asked for" };

const many = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;
const plain = (words) => make("td", "", words);

function pill(state) {
  const [look, words] = STATES[state] ?? ["ok", state];
  const node = make("span", "pill", words);
  node.dataset.state = look;
  return make("td", "", node);
}

function load({ used, cores }) {
  const fill = make("div", "");
  fill.style.transform = `scaleX(${used === null || !cores ? 0 : Math.min(1, used / cores)})`;
  const words = `${used === null ? "–" : used.toFixed(2)} of ${cores === null ? "–" : Number(cores.toFixed(2))}`;
  return make("td", "load", make("span", "", words), make("div", "bar", fill));
}

function time(at) {
  const node = make("time", "", at.toLocaleTimeString([], { hour12: false }));
  node.dateTime = at.toISOString();
  return make("td", "", node);
}

const hostRow = (host) => [
  make("td", "", make("strong", "", host.name)), pill(host.state), plain(String(host.streams ?? "–")), load(host),
  plain(host.rssMb === null ? "–" : `${host.rssMb.toFixed(0)} MB`), plain(host.labels),
];
const moveRow = ({ at, stream, from, to, why }) => [
  time(at), plain(stream), plain(WHY[why] ?? why), plain(from || "–"), plain(to || "–"),
];

// A table that is made anew only where something in it has changed: who has scrolled or marked it keeps that.
class Table {
  constructor(title, heads, row) {
    this.row = row;
    this.shown = "";
    this.body = make("tbody", "");
    const head = make("tr", "", ...heads.map((words) => {
      const cell = make("th", "", words);
      cell.scope = "col";
      return cell;
    }));
    this.node = make("div", "rows", make("table", "", make("thead", "", head), this.body));
    this.node.tabIndex = 0;
    this.node.setAttribute("role", "region");
    this.node.setAttribute("aria-label", title);
  }

  update(values) {
    const shown = JSON.stringify(values);
    if (shown === this.shown) return;
    this.shown = shown;
    this.body.replaceChildren(...values.map((value) => make("tr", "", ...this.row(value))));
  }
}

class Panel {
  constructor(name) {
    this.heardS = -Infinity;
    this.when = new Map(); // each move's time as it was first told: told anew it may be off by a second
    this.title = make("h2", "", `Fleet ${name}`);
    this.title.id = `fleet-${crypto.randomUUID()}`;
    this.summary = make("p", "faint");
    this.say = make("p", "say");
    this.hosts = new Table(
      `Hosts of fleet ${name}`, ["Host", "State", "Streams", "Cores used", "Memory", "Labels"], hostRow);
    this.homeless = make("ul", "homeless");
    this.homelessTitle = make("h3", "", "Streams without a host");
    this.moves = new Table(`Newest moves of fleet ${name}`, ["When", "Stream", "Why", "From", "To"], moveRow);
    this.node = make("section", "fleet", this.title, this.summary, this.say, this.hosts.node,
      this.homelessTitle, this.homeless, make("h3", "", "Newest moves"), this.moves.node);
    this.node.setAttribute("aria-labelledby", this.title.id);
  }

  hear(status, nowS) {
    this.heardS = nowS;
    const waiting = status.homeless.length + status.homelessMore;
    put(this.summary, [
      many(status.hosts.length, "host"), many(status.streams, "stream"), ...(waiting ? [`${waiting} without a host`] : []),
    ].join(" · "));
    this.hosts.update(status.hosts);
    this.homelessTitle.hidden = this.homeless.hidden = waiting === 0;
    const more = status.homelessMore ? [make("li", "faint", `and ${status.homelessMore} more`)] : [];
    this.homeless.replaceChildren(
      ...status.homeless.map(({ name, why }) => make("li", "", make("strong", "", name), ` ${why}`)), ...more);
    const moves = status.moves.map((move) => ({ ...move, at: this.when.get(move.id) ?? move.at }));
    this.when = new Map(moves.map(({ id, at }) => [id, at]));
    this.moves.update(moves);
  }

  update(nowS, connected) {
    const ageS = Math.floor(nowS - this.heardS);
    const stale = !connected || ageS >= STALE_S;
    put(this.say, !connected ? `Broker gone: this is ${ageS} s old.`
      : stale ? `No news from this fleet for ${ageS} s at least: what is shown is old.` : "");
    this.say.hidden = !stale;
    this.node.dataset.stale = String(stale);
  }
}

export class Fleets {
  constructor(node) {
    this.node = node;
    this.panels = new Map();
  }

  // Takes what a fleet says of itself; false if it can't be read.
  take(name, payload, nowS) {
    const status = payload.length ? fleet(payload) : { up: false };
    if (status === null) return false;
    if (status.up && !this.panels.has(name)) this.#open(name);
    const panel = this.panels.get(name);
    if (status.up) panel?.hear(status, nowS);
    else if (panel) {
      panel.node.remove();
      this.panels.delete(name);
    }
    return true;
  }

  update(nowS, connected) {
    for (const panel of this.panels.values()) panel.update(nowS, connected);
  }

  #open(name) {
    if (this.panels.size >= MAX_FLEETS) return;
    const panel = new Panel(name.slice(0, 64));
    this.panels.set(name, panel);
    const next = [...this.panels.keys()].sort().find((other) => other > name);
    this.node.insertBefore(panel.node, next ? this.panels.get(next).node : null);
  }
}
