// What comes over MQTT, checked: whatever does not fit becomes null, and no text is longer than it may be.

export const GATES = ["text", "voice", "face"];
const MAX_BYTES = 16384;
const MAX_FLEET_BYTES = 4 * 1024 * 1024; // 10,000 streams and more
const MAX_HOSTS = 256;
const MAX_HOMELESS = 50;
const MAX_MOVES = 50;

const number = (value, low, high) =>
  typeof value === "number" && value >= low && value <= high ? value : null;
const text = (value, most = 200) => (typeof value === "string" ? value.slice(0, most) : null);
const range = (value) => {
  const [low, high] = Array.isArray(value) ? [number(value[0], -3, 3), number(value[1], -3, 3)] : [null, null];
  return low === null || high === null || low > high ? null : { low, high };
};
const time = (value) => {
  const at = new Date(text(value, 40) ?? NaN);
  return Number.isNaN(at.getTime()) ? new Date() : at;
};
const record = (value) => (value !== null && typeof value === "object" && !Array.isArray(value) ? value : {});

// The object in a payload, if its schema is the wanted one.
export function read(payload, schema, most = MAX_BYTES) {
  if (payload.length > most) return null;
  try {
    const body = record(JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(payload)));
    return body.schema === schema ? body : null;
  } catch {
    return null;
  }
}

export function sentiment(payload) {
  const body = read(payload, "agfn.sentiment/1");
  const state = body && text(body.state, 20);
  if (!state) return null;
  const interval = range(body.interval);
  const latency = record(body.latency_ms);
  const words = record(body.text);
  return {
    state,
    score: interval && number(body.score, -3, 3),
    interval,
    band: range(body.band),
    label: text(body.label, 40),
    confidence: number(body.confidence, 0, 1),
    positive: number(body.p_positive, 0, 1),
    opinion: text(body.opinion, 20),
    gates: Object.fromEntries(GATES.map((name) => [name, gate(record(body.modalities)[name])])),
    totalMs: number(latency.total, 0, 1e9),
    textLagMs: number(latency.text_lag, 0, 1e9),
    committed: text(words.committed, 2000) ?? "",
    tentative: text(words.tentative, 2000) ?? "",
  };
}

function gate(value) {
  const part = record(value);
  return {
    weight: number(part.weight, 0, 1) ?? 0,
    reliability: number(part.reliability, 0, 1) ?? 0,
    state: text(part.state, 20) ?? "unknown",
    cause: text(part.cause) ?? "",
  };
}

export function event(payload) {
  const body = read(payload, "agfn.event/1");
  const kind = body && text(body.kind, 20);
  if (!kind) return null;
  return {
    id: text(body.id) ?? "",
    at: time(body.utc),
    kind,
    component: text(body.component, 60) ?? "",
    cause: text(body.cause) ?? "",
  };
}

export function health(payload) {
  const body = read(payload, "agfn.health/1");
  if (!body) return null;
  const process = record(body.process);
  const rates = Object.entries(record(body.components)).slice(0, 20).map(([name, value]) => {
    const part = record(value);
    return { name: name.slice(0, 40), hz: number(part.rate_hz, 0, 1e6), device: part.channel === null };
  });
  return {
    devices: rates.filter((part) => part.device && part.hz !== null),
    p95Ms: number(body.latency_p95_ms, 0, 1e9),
    cores: number(process.cpu_cores, 0, 1e4),
    rssMb: number(process.rss_mb, 0, 1e7),
    recording: body.recording === null || body.recording === undefined ? null : recorded(record(body.recording)),
  };
}

function recorded(value) {
  const kept = ["numbers", ...(value.words === true ? ["words"] : []), ...(value.media === true ? ["picture + sound"] : [])];
  return { kept: kept.join(" + "), failed: value.writing === false };
}

// How a fleet is: hosts, how many streams, those that no host has, and the moves, the newest first.
export function fleet(payload) {
  const body = read(payload, "agfn.fleet.status/1", MAX_FLEET_BYTES);
  if (!body) return null;
  const streams = Object.entries(record(body.streams));
  const homeless = streams.filter(([, value]) => typeof record(value).host !== "string");
  const saidMs = time(body.utc).getTime();
  return {
    up: body.state === "up",
    hosts: Object.entries(record(body.hosts)).slice(0, MAX_HOSTS).map(host).sort((one, other) => (one.name < other.name ? -1 : 1)),
    streams: streams.length,
    homeless: homeless.slice(0, MAX_HOMELESS).map(([name, value]) => ({
      name: name.slice(0, 64), why: text(record(value).why) || "waits for a host",
    })),
    homelessMore: Math.max(0, homeless.length - MAX_HOMELESS),
    moves: (Array.isArray(body.moves) ? body.moves : []).slice(-MAX_MOVES).reverse().map((value) => move(record(value), saidMs)),
  };
}

function host([name, value]) {
  const part = record(value);
  const labels = Object.entries(record(part.labels)).slice(0, 32).map(([key, each]) => `${key}=${text(each, 64) ?? ""}`);
  return {
    name: name.slice(0, 64),
    state: text(part.state, 20) ?? "unknown",
    streams: number(part.streams, 0, 1e6),
    cores: number(part.cores, 0, 1e4),
    used: number(part.used_cores, 0, 1e4),
    rssMb: number(part.rss_mb, 0, 1e7),
    labels: labels.join(" ").slice(0, 200),
  };
}

function move(part, saidMs) {
  const stream = text(part.stream, 64) ?? "";
  return {
    id: `${number(part.epoch, 0, 2 ** 53) ?? ""} ${stream}`,
    at: new Date(saidMs - 1000 * (number(part.ago_s, 0, 1e8) ?? 0)),
    stream,
    from: text(part.from, 64) ?? "",
    to: text(part.to, 64) ?? "",
    why: text(part.why, 20) ?? "",
  };
}
