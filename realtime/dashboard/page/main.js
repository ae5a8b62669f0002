// Connects to the broker, hands what comes to the streams, and draws four times a second.

import { Card, make } from "./card.js";
import { colours } from "./charts.js";
import { event, health, sentiment } from "./messages.js";
import { Stream } from "./stream.js";

const MAX_STREAMS = 64;
const MAX_EVENTS = 100;
const FAULTS = new Set(["lost", "stalled", "frozen", "slow", "overload"]);

const $ = (id) => document.getElementById(id);
const now = () => performance.now() / 1000;
const cards = new Map();
const offline = new Set();
const seenEvents = new Set();
let settings = { base: "agfn", broker: null };
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
  if (known || cards.size >= MAX_STREAMS) return known;
  const card = new Card(new Stream(name), command);
  cards.set(name, card);
  const next = [...cards.keys()].sort().find((other) => other > name);
  $("streams").insertBefore(card.node, next ? cards.get(next).node : null);
  watcher.observe(card.node);
  return card;
}

function command(stream, word) {
  if (!client?.connected) return;
  client.publish(`${settings.base}/${stream.name}/command`, word, { qos: 1, retain: false });
  stream.ask(word, now());
  draw();
}

function take(topic, payload) {
  const [name, kind] = topic.slice(settings.base.length + 1).split("/");
  if (kind === "status") return takeStatus(name, new TextDecoder().decode(payload.subarray(0, 16)));
  const parse = { sentiment, event, health }[kind];
  const message = parse?.(payload);
  if (!message) {
    unreadable += 1;
    $("unreadable").hidden = false;
    $("unreadable").textContent = `Messages that this page could not read: ${unreadable}.`;
    return undefined;
  }
  if (kind === "event") return takeEvent(name, message);
  const stream = cardOf(name)?.stream;
  if (kind === "sentiment") stream?.hear(message, now());
  else if (stream) Object.assign(stream, { health: message, healthS: now() });
  return undefined;
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

function connect(user) {
  const url = settings.broker ?? `ws://${location.host}/mqtt`;
  client?.removeAllListeners();
  client?.end(true);
  client = mqtt.connect(url, {
    clientId: `agfn-dashboard-${crypto.randomUUID().slice(0, 13)}`,
    protocolVersion: 4, // what the embedded broker speaks
    clean: true,
    keepalive: 15,
    connectTimeout: 5000,
    reconnectPeriod: 1500,
    queueQoSZero: false,
    resubscribe: false,
    timerVariant: "native", // its own timers need a worker made of text, which the page forbids
    ...user,
  });
  client.on("connect", () => {
    goneS = null;
    client.subscribe(["sentiment", "event", "health", "status"].map((kind) => `${settings.base}/+/${kind}`), { qos: 1 });
  });
  client.on("close", () => { goneS ??= now(); });
  client.on("error", (error) => {
    if (error.code !== 4 && error.code !== 5) return; // 3.1.1: bad user name or password, not authorised
    client.end(true);
    $("login").hidden = false;
  });
  client.on("message", (topic, payload) => take(topic, payload));
}

function draw() {
  const connected = client?.connected ?? false;
  const [state, words] = connected ? ["connected", "connected"]
    : !$("login").hidden ? ["waiting", "the broker asks who you are"]
    : goneS === null ? ["waiting", "connecting"]
    : ["gone", `broker gone for ${Math.floor(now() - goneS)} s, reconnecting`];
  if ($("connection").textContent !== words) $("connection").textContent = words;
  $("connection").dataset.state = state;
  const spanS = Number($("span").value);
  for (const card of cards.values()) card.update(now(), spanS, connected, palette);
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
  connect({ username: $("user").value, password: $("password").value });
  $("password").value = "";
});
$("span").addEventListener("change", draw);
document.addEventListener("visibilitychange", draw);
settings = await (await fetch("settings.json")).json();
connect({});
draw();
setInterval(draw, 250);
