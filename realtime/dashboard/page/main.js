// Connects to the broker, hands what comes to the streams, and draws four times a second.

import { Card, make } from "./card.js";
import { colours } from "./charts.js";
import { Fleets } from "./fleet.js";
import { ask, connect } from "./link.js";
import { manage } from "./manage.js";
import { event, health, sentiment } from "./messages.js";
import { Stream } from "./stream.js";

const MAX_STREAMS = 64;
const MAX_EVENTS = 100;
const FLEET = "_fleet"; // no stream can be called so
const FAULTS = new Set(["lost", "stalled", "frozen", "slow", "overload"]);

const $ = (id) => document.getElementById(id);
const now = () => performance.now() / 1000;
const cards = new Map();
const fleets = new Fleets($("fleets"));
const offline = new Set();
const seenEvents = new Set();
let settings = null;
let token = "";
let client = null;
let goneS = null;
let unreadable = 0;
let palette = colours();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { palette = colours(); });
const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    for (const card of cards.values()) if (card.node === entry.target) card.visible = entry.isIntersecting;
  }
});

function cardOf(name) {
  const known = cards.get(name);
  if (!known && cards.size >= MAX_STREAMS) forgetOne();
  if (known || cards.size >= MAX_STREAMS) return known;
  const card = new Card(new Stream(name), command);
  cards.set(name, card);
  const next = [...cards.keys()].sort().find((other) => other > name);
  $("streams").insertBefore(card.node, next ? cards.get(next).node : null);
  watcher.observe(card.node);
  return card;
}

// Makes room for another stream by one that has ended.
function forgetOne() {
  const gone = [...cards.values()].find((card) => card.stream.status === "offline");
  if (!gone) return;
  watcher.unobserve(gone.node);
  gone.node.remove();
  cards.delete(gone.stream.name);
}

function command(stream, word) {
  if (!client?.connected) return;
  client.publish(`${settings.base}/${stream.name}/command`, word, { qos: 1, retain: false });
  stream.ask(word, now());
  draw();
}

function take(name, kind, payload) {
  if (name === FLEET) return fleets.take(kind.split("/")[0], payload, now()) ? undefined : countUnreadable();
  if (kind === "status") return takeStatus(name, new TextDecoder().decode(payload.subarray(0, 16)));
  const parse = { sentiment, event, health }[kind];
  const message = parse?.(payload);
  if (!message) return countUnreadable();
  if (kind === "event") return takeEvent(name, message);
  const stream = cardOf(name)?.stream;
  if (kind === "sentiment") stream?.hear(message, now());
  else if (stream) Object.assign(stream, { health: message, healthS: now() });
  return undefined;
}

function countUnreadable() {
  unreadable += 1;
  $("unreadable").hidden = false;
  $("unreadable").textContent = `Messages that this page could not read: ${unreadable}.`;
}

function takeStatus(name, word) {
  if (word === "offline" && !cards.has(name)) {
    if (offline.size < MAX_STREAMS) offline.add(name.slice(0, 64));
  } else if (word === "online" || word === "offline") {
    offline.delete(name);
    const card = cardOf(name);
    if (card) card.stream.status = word;
  }
}

function takeEvent(name, message) {
  if (seenEvents.has(message.id)) return; // QoS 1 may deliver twice
  seenEvents.add(message.id);
  if (seenEvents.size > 10 * MAX_EVENTS) seenEvents.delete(seenEvents.values().next().value);
  const time = make("time", "faint", message.at.toLocaleTimeString([], { hour12: false }));
  time.dateTime = message.at.toISOString();
  const what = make("span", "what", make("span", "kind", message.kind), ` ${message.component}`);
  if (message.cause) what.append(make("span", "faint", ` · ${message.cause}`));
  const item = make("li", "", time, make("span", "", name.slice(0, 64)), what);
  item.dataset.fault = String(FAULTS.has(message.kind));
  $("events").prepend(item);
  while ($("events").childElementCount > MAX_EVENTS) $("events").lastElementChild.remove();
  $("no-events").hidden = true;
}

function enter(user) {
  client?.removeAllListeners();
  client?.end(true);
  client = connect(settings, {
    token,
    user,
    kinds: ["sentiment", "event", "health", "status"],
    others: [`${FLEET}/+/status`],
    take,
    change: (there) => { goneS = there ? null : goneS ?? now(); },
    refused: () => { $("login").hidden = false; },
  });
}

async function begin() {
  settings = await ask(token);
  $("ask-token").hidden = settings !== null;
  if (settings === null) return $("token").focus();
  $("watch").href = settings.watch ? `overlay.html#token=${settings.watch}` : "overlay.html";
  $("watch").parentElement.hidden = false;
  if (settings.control) manage(token);
  return enter({});
}

function draw() {
  const connected = client?.connected ?? false;
  const [state, words] = connected ? ["connected", "connected"]
    : !$("ask-token").hidden ? ["waiting", token ? "the token is wrong" : "asks for the token"]
    : !$("login").hidden ? ["waiting", "the broker asks who you are"]
    : goneS === null ? ["waiting", "connecting"]
    : ["gone", `broker gone for ${Math.floor(now() - goneS)} s, reconnecting`];
  if ($("connection").textContent !== words) $("connection").textContent = words;
  $("connection").dataset.state = state;
  const spanS = Number($("span").value);
  for (const card of cards.values()) card.update(now(), spanS, connected, palette);
  fleets.update(now(), connected);
  $("waiting").hidden = cards.size > 0;
  $("offline").hidden = offline.size === 0;
  $("offline").textContent = `Offline: ${[...offline].sort().join(", ")}`;
  const streams = [...cards.values()].map((card) => card.stream).filter((stream) => !stream.view(now(), connected).stale);
  const running = streams.some((stream) => !stream.paused);
  $("pause-all").textContent = running || !streams.length ? "Pause all" : "Resume all";
  $("pause-all").disabled = !connected || !streams.length;
  $("pause-all").onclick = () => {
    for (const stream of streams) if (stream.paused !== running) command(stream, running ? "pause" : "resume");
  };
}

$("login").addEventListener("submit", (submitted) => {
  submitted.preventDefault();
  $("login").hidden = true;
  enter({ username: $("user").value, password: $("password").value });
  $("password").value = "";
});
$("span").addEventListener("change", draw);
document.addEventListener("visibilitychange", draw);
$("ask-token").addEventListener("submit", (submitted) => {
  submitted.preventDefault();
  token = $("token").value;
  $("token").value = "";
  begin();
});
await begin();
draw();
setInterval(draw, 250);
